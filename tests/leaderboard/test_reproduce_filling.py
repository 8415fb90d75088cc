"""Missing runs of a study are started one by one, and end with whoever waits for them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from made_up_study import printed, registry

from omnibench.errors import INTERRUPTED, SetupError
from omnibench_leaderboard.reproduce import grid
from omnibench_leaderboard.reproduce.filling import _run, fill
from omnibench_leaderboard.reproduce.missing import Machine


def test_what_is_known_to_be_missing_is_not_started(tmp_path):
    known = registry(printed(80.0))
    study = grid.find(known, "paper-2026")
    jobs = study.jobs(known, 2)
    assert jobs[0].arguments[-4:] == ["--tuning", "full", "--seeds", "2"]
    failed, worst = fill(jobs, ["--no-such-option"], Machine(known, tmp_path).lacks)
    assert worst == SetupError.exit_code
    assert failed == {jobs[0].cells[0].key: "the data are not here; download them"}


def test_an_interrupted_run_interrupts_and_a_killed_one_has_failed():
    with pytest.raises(KeyboardInterrupt):
        _run([sys.executable, "-c", f"raise SystemExit({INTERRUPTED})"])
    assert _run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 1


def test_a_run_ends_with_the_process_that_waits_for_it(tmp_path):
    told = tmp_path / "told"
    child = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(told)!r}).touch(), sys.exit()))\n"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\n"
        "time.sleep(60)\n"
    )

    def when_up(signum, frame):
        if (tmp_path / "up").exists():
            raise SystemExit(INTERRUPTED)

    before = signal.signal(signal.SIGALRM, when_up)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(SystemExit):
            _run([sys.executable, "-c", child])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert told.exists()


STUDY_FILE = """
from omnibench import PublishedValue

@hookimpl
def omnibench_published():
    return [PublishedValue(source="Toy, Table 1", encoder="toy-encoder", task="toy",
        dataset="toy-labels", metric="accuracy", printed_metric="accuracy", value=99.0, sd=0.5,
        study="toy-study", table=1, runs=(5,))]
"""


def test_a_study_is_filled_by_the_ordinary_command_and_nothing_is_run_twice(toy_file, tmp_path):
    text = toy_file.read_text().replace(
        "import sys\n", "import sys\nfrom omnibench import hookimpl\n", 1
    )
    toy_file.write_text(text + STUDY_FILE)
    command = [sys.executable, "-m", "omnibench", "reproduce", "toy-study", "--json"]
    command += ["--plugin", str(toy_file), "--results", str(tmp_path / "results")]
    command += ["--cache", str(tmp_path / "cache"), "--device", "cpu"]
    first = subprocess.run(command, check=False, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    (row,) = json.loads(first.stdout)["numbers"]
    assert row["n"] == 3 and row["outcome"] in ("matches", "differs", "undecided")
    assert "1 of 1: omnibench run --encoder toy-encoder" in first.stderr
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.stdout == first.stdout and "omnibench run" not in again.stderr
