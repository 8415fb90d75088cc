"""Two processes that torchrun starts train one encoder, and go on exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from omnirad.checkpoints import read, steps
from omnirad.errors import UsageError
from omnirad.loop import pretrain

# Eight processes load torch, on machines that may be busy.
pytestmark = pytest.mark.timeout(900)
PROGRAM = Path(__file__).parent / "two_rank_pretraining.py"


def in_two_processes(root: Path, out: str, stop: int, **changes: float) -> list[str]:
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(PROGRAM), str(root), out, json.dumps(changes | {"stop": stop})),
        ],
        check=True,
        timeout=200,
    )
    first, second = (
        json.loads((root / f"{out}-{stop}-rank{rank}.json").read_text()) for rank in (0, 1)
    )
    assert first == second
    return list(first)


@pytest.fixture(scope="module")
def root(job_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    job_in(folder)  # makes the images
    for stop in (2, 4):
        digests = in_two_processes(folder, "parts", stop)
        assert digests[0] == digests[1], "the ranks' weights differ"
    in_two_processes(folder, "whole", 4)
    return folder


def test_both_ranks_hold_the_same_weights_and_go_on_bit_for_bit(root):
    digests = {
        name: json.loads((root / f"{name}-4-rank0.json").read_text()) for name in ("parts", "whole")
    }
    assert digests["parts"] == digests["whole"]


def test_an_epoch_is_shared_and_one_process_writes(root):
    run = json.loads((root / "whole" / "run.json").read_text())
    assert run["identity"]["world_size"] == "2"
    rows = [json.loads(line) for line in (root / "whole" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    # 24 images, 4 a process: three steps an epoch, as with one process and a batch of 8
    assert rows[3]["epoch"] == 1.0


def gradients(out: Path) -> list[torch.Tensor]:
    """AdamW's first moments after one step, a tenth of the clipped gradients."""
    state = read(steps(out / "checkpoints")[1])["state"]["optimiser"]["state"]
    return [moments["exp_avg"] for moments in state.values()]


def test_two_ranks_of_half_a_batch_have_the_gradients_of_one_rank(root, job_in):
    """Without masks and KoLeo: losses are means over all images, Sinkhorn is over all ranks."""
    alike = {"mask_probability": 0.0, "koleo_weight": 0.0, "drop_path": 0.0}
    in_two_processes(root, "two", 1, **alike)
    pretrain(job_in(root, "one", stop=1, **alike))
    one, two = gradients(root / "one"), gradients(root / "two")
    assert len(one) == len(two) > 40 and max(float(g.abs().max()) for g in one) > 1e-3
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_another_number_of_processes_is_refused(root, job_in):
    with pytest.raises(UsageError, match="world_size was 2, now 1"):
        pretrain(job_in(root, "whole", batch_size=4))
