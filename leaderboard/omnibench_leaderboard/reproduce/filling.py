"""Runs what is missing through the ordinary command, one process a run."""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from omnibench.errors import INTERRUPTED, RunFailed, SetupError
from omnibench_leaderboard.reproduce.grid import Job, Key
from omnibench_leaderboard.reproduce.missing import Lack

log = logging.getLogger(__name__)
STDERR = 2  # what a run prints is progress here


def fill(
    jobs: Sequence[Job], options: Sequence[str], lacks: Callable[[Job], Sequence[Lack]]
) -> tuple[dict[Key, str], int]:
    """Run jobs one after the other; one that fails does not stop the others.

    Args:
        jobs: What is not finished; `omnibench run` itself repeats no finished seed.
        options: Of `omnibench run`: results, data, device.
        lacks: What is known beforehand to be missing; such a job is not started.

    Returns:
        Why cells were not filled, and the exit code of the gravest failure.

    Raises:
        KeyboardInterrupt: Once the run that was interrupted has ended.
        SystemExit: Likewise, where this process was told to terminate.
    """
    failed: dict[Key, str] = {}
    worst = 0
    for number, job in enumerate(jobs, 1):
        if missing := lacks(job):
            reason, code = "; ".join(lack.reason for lack in missing), SetupError.exit_code
        else:
            told = ["omnibench", "run", *job.arguments]
            log.warning("%d of %d: %s", number, len(jobs), shlex.join(told))
            code = _run([sys.executable, "-m", "omnibench", "run", *job.arguments, *options])
            reason = f"`{shlex.join(told)}` ended with exit code {code}" if code else ""
        if code:
            failed |= {cell.key: reason for cell in job.cells}
            worst = max(worst, code)
    return failed, worst


def _run(command: list[str]) -> int:
    """Return a process's exit code; one that a signal ended has failed."""
    with subprocess.Popen(command, stdout=STDERR) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # The terminal has interrupted the run too: it writes what it knows, and ends.
            process.wait()
            raise
        except SystemExit:
            # A signal to this process alone: the run is told, so that none is left behind.
            process.terminate()
            process.wait()
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code if code >= 0 else RunFailed.exit_code
