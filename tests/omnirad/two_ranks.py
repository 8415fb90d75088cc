"""One of two processes of `test_two_processes`: python two_ranks.py RANK STORE OUT."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import distributed as dist

from omnirad.centring import MovingCentre, ScaledLogits, sinkhorn_offset
from omnirad.comm import TorchComm
from omnirad.masking import draw_masks
from omnirad.presets import NANO
from omnirad.student_teacher import StudentTeacher, build_student

RECIPE = replace(
    NANO,
    prototypes=48,
    head_hidden=32,
    head_bottleneck=16,
    koleo_weight=0.0,
    drop_path=0.0,
)
SPLIT = 11  # rows of rank 0; rank 1 has the others


def rows() -> torch.Tensor:
    return torch.randn(30, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def crops() -> torch.Tensor:
    """Two images a rank; both views of four."""
    return torch.randn(2, 4, 3, 56, 56, generator=torch.Generator().manual_seed(1))


def masks() -> torch.Tensor:
    found = draw_masks(RECIPE, 8, (4, 4), seed=0, step=0, rank=0)
    return torch.from_numpy(found).view(2, 4, 16)


def main(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    comm = TorchComm()
    mine = rows()[:SPLIT] if rank == 0 else rows()[SPLIT:]
    logits = ScaledLogits(mine, torch.eye(12, dtype=torch.float64), 0.1, 4)
    centre = MovingCentre(12).double()
    centre.offset(logits, comm)
    empty = ScaledLogits(rows()[: 30 * rank], torch.eye(12, dtype=torch.float64), 0.1, 4)

    pair = StudentTeacher(build_student(RECIPE, seed=0), RECIPE, seed=0, comm=comm)
    pair.distribute()
    images = slice(2 * rank, 2 * rank + 2)
    found = pair.losses(
        crops()[:, images].flatten(0, 1),
        masks()[:, images].flatten(0, 1),
        step=0,
        teacher_temp=0.05,
    )
    found.total.backward()
    torch.save(
        {
            "offset": sinkhorn_offset(logits, 3, comm),
            "lonely": sinkhorn_offset(empty, 3, comm),
            "centre": centre.centre,
            "total": found.total.detach(),
            "gradients": {n: p.grad for n, p in pair.student.named_parameters()},
            "keys": list(pair.state_dict()["student"]),
        },
        out,
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
