"""Test 13: a run that stops anywhere, in any way, ends as if it had never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from omnirad.checkpoints import read, steps
from omnirad.errors import UsageError
from omnirad.loop import pretrain

STEPS = 6


def command(job: Any, tiny_set: list[str], *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "omnirad", "pretrain", "--preset", "nano", *tiny_set),
        *("--data", job.data[0], "--out", str(job.out), "--device", "cpu"),
        *("--save-every", str(job.save_every), *more),
    ]


def final(out: Path) -> dict[str, Any]:
    found = steps(out / "checkpoints")
    assert max(found) == STEPS
    return read(found[STEPS])["state"]["pair"] | {
        "optimiser": read(found[STEPS])["state"]["optimiser"]
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{number}")
    else:
        assert one == other, where


def logged(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{n: v for n, v in row.items() if n != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def whole(job_in, tmp_path_factory):
    """A run that never stopped."""
    job = job_in(tmp_path_factory.mktemp("whole"))
    assert pretrain(job) == job.out / "encoder"
    return job.out


def test_new_processes_go_on_bit_for_bit_with_any_number_of_workers(whole, tiny_job, tiny_set):
    job = tiny_job("parts", save_every=100)
    for more in (["--steps", "3", "--workers", "2"], ["--steps", "5"], ["--workers", "2"]):
        subprocess.run(command(job, tiny_set, *more), check=True)
    assert_same(final(whole), final(job.out))


def test_a_stopped_run_writes_the_log_of_one_that_never_stopped(whole, tiny_job):
    for stop in (3, 4, None):
        pretrain(tiny_job("parts", stop=stop))
    out = tiny_job("parts").out
    assert_same(final(whole), final(out))
    assert logged(whole) == logged(out)
    assert [row["step"] for row in logged(out)] == list(range(STEPS))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_bit_for_bit(which, whole, tiny_job, tiny_set):
    job = tiny_job("killed", save_every=1)
    process = subprocess.Popen(
        command(job, tiny_set, "--workers", "2"), stderr=subprocess.PIPE, text=True
    )
    wait_for(job.out / "checkpoints" / "checkpoint-000000002.pt", process)
    os.kill(process.pid, which)
    process.communicate(timeout=60)
    before = max(steps(job.out / "checkpoints"))
    assert process.returncode == (-which if which == signal.SIGKILL else 130)
    assert 2 <= before < STEPS
    pretrain(tiny_job("killed", save_every=1, workers=1))
    assert_same(final(whole), final(job.out))


def test_a_finished_run_is_left_as_it_is(whole, job_in):
    before = {path: path.stat().st_mtime_ns for path in (whole / "encoder").iterdir()}
    assert pretrain(job_in(whole.parent)) == whole / "encoder"
    assert before == {path: path.stat().st_mtime_ns for path in (whole / "encoder").iterdir()}


def test_another_recipe_is_refused_and_every_field_named(tiny_job):
    pretrain(tiny_job(stop=1))
    with pytest.raises(UsageError, match=r"base_lr was 0.001, now 0.01; koleo_weight was 0.1, now"):
        pretrain(tiny_job(base_lr=0.01, koleo_weight=0.0))
    with pytest.raises(UsageError, match="seed was 0, now 1"):
        pretrain(tiny_job(seed=1))


def test_force_goes_on_with_the_new_recipe(tiny_job, caplog):
    pretrain(tiny_job(stop=1))
    pretrain(tiny_job(stop=2, base_lr=0.01, force=True))
    assert "going on although base_lr was 0.001, now 0.01" in caplog.text
    assert max(steps(tiny_job().out / "checkpoints")) == 2
    with pytest.raises(UsageError, match=r"base_lr was 0.01, now 0.001"):
        pretrain(tiny_job())


def test_other_images_are_refused_and_the_first_table_is_kept(tiny_job, tmp_path):
    pretrain(tiny_job(stop=1))
    images = tmp_path / "images"
    table = (tiny_job().out / "manifest.csv").read_bytes()
    (images / "000.png").write_bytes((images / "001.png").read_bytes())
    with pytest.raises(UsageError, match="manifest was"):
        pretrain(tiny_job())
    assert (tiny_job().out / "manifest.csv").read_bytes() == table


def test_a_folder_with_something_else_is_refused(tiny_job):
    job = tiny_job("other")
    job.out.mkdir()
    (job.out / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis\.tex, but no run; choose a new folder"):
        pretrain(job)
