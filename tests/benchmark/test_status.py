"""`omnibench status`: what became of every seed, and who is at which, without changing a thing."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sample_records
from click.testing import CliRunner, Result

from omnibench import claims
from omnibench.claims import Claims
from omnibench.cli import cli
from omnibench.errors import SetupError
from omnibench.status import look
from omnibench.store import Store


def save(root: Path, seed: int = 0, **changes: Any) -> Path:
    record = sample_records.record(seed, **changes)
    return Store(root).save(record, sample_records.arrays(seed) if record.predictions else {})


def fail(root: Path, seed: int, status: str = "failed", kind: str = "nan_loss") -> Path:
    failure = {"kind": kind, "message": "the training loss became nan in epoch 3"}
    return save(
        root, seed, status=status, failure=failure, metrics={}, predictions=None,
        timing={"ended": "2026-01-02T00:00:00+00:00"},
    )  # fmt: skip


def tree(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def claim(root: Path, run_id: str, **changes: Any) -> Path:
    """Write a claim as another process on another host would."""
    content = {
        "title": "vit-a · cls · breastmnist · seed 4", "host": "elsewhere", "pid": 7,
        "process": "then", "started": "2026-01-01", "heartbeat": "2026-01-01", **changes,
    }  # fmt: skip
    path = root / "claims" / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_seeds_are_finished_failed_or_interrupted_cell_by_cell(tmp_path: Path) -> None:
    for seed in (0, 1):
        save(tmp_path, seed)
    fail(tmp_path, 2)
    fail(tmp_path, 3, "interrupted", "interrupted")
    save(tmp_path, 0, changes={"lr": "0.01"}, label="vit-b")
    first, second = look(tmp_path).cells
    assert first.cell == "vit-a · cls · breastmnist · recipe paper · full"
    assert (first.finished, first.interrupted) == ((0, 1), (3,))
    assert first.failed[2]["kind"] == "nan_loss"
    assert second.cell.startswith("vit-b") and "recipe paper with lr=0.01" in second.cell


def test_a_failure_before_variants_is_forgotten_once_one_was_completed(tmp_path: Path) -> None:
    fail(tmp_path, 0)
    whole = sample_records.record(0)
    identity = {**whole.identity, "task": {**whole.identity["task"], "variant": "beam5"}}
    for ended, cells in (("2026-01-01", 2), ("2026-01-03", 1)):
        record = dataclasses.replace(whole, identity=identity, timing={"ended": ended})
        Store(tmp_path).save(record, sample_records.arrays(0))
        found = look(tmp_path).cells
        assert len(found) == cells and any(cell.failed for cell in found) is (cells == 2)
    assert found[0].finished == (0,) and found[0].cell.endswith("beam5")


def test_a_failure_that_was_made_good_is_forgotten(tmp_path: Path) -> None:
    fail(tmp_path, 0)
    save(tmp_path, 0)
    (cell,) = look(tmp_path).cells
    assert (cell.finished, cell.failed) == ((0,), {})


def test_of_several_failures_the_last_counts(tmp_path: Path) -> None:
    fail(tmp_path, 0, "interrupted", "interrupted")
    save(
        tmp_path, 0, status="failed", failure={"kind": "oom", "message": "out of memory"},
        metrics={}, predictions=None, timing={"ended": "2026-01-03T00:00:00+00:00"},
    )  # fmt: skip
    (cell,) = look(tmp_path).cells
    assert cell.failed[0]["kind"] == "oom" and cell.interrupted == ()


def test_a_process_that_runs_is_told_from_one_that_is_gone_or_silent(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    assert mine.take("a" * 64, "vit-a · cls · breastmnist · seed 3")
    host = claims._process()["host"]
    claim(tmp_path, "b" * 64, host=host, pid=os.getpid())  # its process began at another time
    claim(tmp_path, "c" * 64)
    silent = claim(tmp_path, "d" * 64)
    then = time.time() - claims.STALE_SECONDS - 5
    os.utime(silent, (then, then))
    try:
        running = look(tmp_path).running
    finally:
        mine.close()
    assert [r.state for r in running] == ["running", "gone", "running", "silent"]
    assert running[0].title.endswith("seed 3") and f"process {os.getpid()} " in running[0].by


def test_kept_states_are_named_where_a_record_or_claim_tells_of_them(tmp_path: Path) -> None:
    kept = tmp_path / "unfinished"
    kept.mkdir()
    interrupted = sample_records.record(5).run_id
    fail(tmp_path, 5, "interrupted", "interrupted")
    claim(tmp_path, "c" * 64)
    for run_id in (interrupted, "c" * 64, "e" * 64):
        (kept / f"{run_id}.pt").write_bytes(b"x" * 100)
    (kept / ".123-draft").write_bytes(b"half of one")
    found = {item.run_id: item for item in look(tmp_path).unfinished}
    assert len(found) == 3
    assert found[interrupted].title.endswith("full · seed 5")
    assert found["c" * 64].running and not found[interrupted].running
    assert found["e" * 64].title == "" and found["e" * 64].size == 100


def test_damaged_records_are_said_beside_the_others(tmp_path: Path) -> None:
    save(tmp_path, 0)
    path = save(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-20])
    found = look(tmp_path)
    assert found.cells[0].finished == (0,) and found.exit_code == 4
    assert str(path) in found.damaged[0]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"title": {"a": 1}, "pid": []}', "[" * 99_999])
def test_claims_that_make_no_sense_harm_nothing(tmp_path: Path, text: str) -> None:
    save(tmp_path)
    claim(tmp_path, "f" * 64).write_text(text)
    assert command(tmp_path).exit_code == 0


def test_an_empty_folder_is_a_setup_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SetupError, match="holds no records and nothing that runs"):
            look(folder)


def command(root: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["status", "--results", str(root), *options])


def test_the_command_shows_all_and_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path, 0)
    fail(tmp_path, 1)
    claim(tmp_path, "c" * 64, title="vit\x1b[31m\ud800-a · cls · breastmnist · seed 4")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / f"{'e' * 64}.pt").write_bytes(b"x")
    before = tree(tmp_path)
    done = command(tmp_path)
    assert done.exit_code == 0 and "\x1b" not in done.output
    assert "seed 1 FAILED, nan_loss: the training loss became nan in epoch 3" in done.output
    assert "process 7 on elsewhere" in done.output and "eeeeeeeeeeee" in done.output
    assert "goes on with it" in done.output
    said = json.loads(command(tmp_path, "--json").output)
    assert said["cells"][0]["failed"]["1"]["kind"] == "nan_loss"
    assert tree(tmp_path) == before


def test_looking_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    save(tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\nfrom omnibench.status import look\n"
        "assert look(Path(sys.argv[1])).cells\n"
        "print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
