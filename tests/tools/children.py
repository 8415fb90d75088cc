"""Work in forked children: they start in milliseconds, with everything imported."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable


def start(work: Callable[[], object]) -> int:
    """Run `work` in a child; return its process id. What it raises ends it with status 1."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except Exception:  # noqa: BLE001 - whatever it is, the child must not go on as pytest
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def join(pid: int) -> int:
    """Wait for a child; return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_after(seconds: float, pid: int) -> bool:
    """Kill a child as nobody can refuse; return whether it was still running."""
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return join(pid) == -signal.SIGKILL


def answer(work: Callable[[], str]) -> str:
    """Return what `work` returns in a child of its own."""
    reader, writer = os.pipe()

    def write() -> None:
        os.write(writer, work().encode())

    pid = start(write)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:  # noqa: PTH123
        found = file.read()
    assert join(pid) == 0
    return found
