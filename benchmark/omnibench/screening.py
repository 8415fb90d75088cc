"""What is asked of a plugin before its offers count: answer in time, and give cards of plain types."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from omnibench.errors import PluginError

# Annotations of cards and what a value must be; others are checked where they are used.
PLAIN: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "bool | None": lambda value: value is None or isinstance(value, bool),
    "int": lambda value: _is_int(value),
    "tuple[str, ...]": lambda value: _all(value, lambda item: isinstance(item, str)),
    "tuple[int, ...]": lambda value: _all(value, _is_int),
    "tuple[int, int, int] | None": lambda value: (
        value is None or (_all(value, _is_int) and len(value) == 3)
    ),
}
TASK = {"name": "str", "version": "int", "summary": "str"}
TASK_LISTS = ("recipes", "tunings")


class TookTooLong(BaseException):
    """Raised in code that does not end; no `Exception`, so that nobody catches it by the way."""


def check_card(card: object, what: str) -> None:
    """Raise `PluginError` unless every plain field of a card has the type that it declares."""
    for field in dataclasses.fields(card):  # type: ignore[arg-type]
        _require(what, field.name, str(field.type), getattr(card, field.name))


def check_task(task: Any) -> None:
    """Raise `PluginError` unless what a task says of itself is of plain types."""
    for name, kind in TASK.items():
        _require("task", name, kind, getattr(task, name))
    for name in TASK_LISTS:
        _require("task", name, "tuple[str, ...]", tuple(getattr(task, name)))
    if not task.recipes:
        raise PluginError("task: it has no recipes, at least one was expected")


@contextlib.contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """Run a stranger's code: what it prints goes to stderr, and it is stopped if it does not end.

    Only the main thread of a Unix process can be stopped; elsewhere there is no limit.

    Args:
        seconds: How long it may take.

    Raises:
        TookTooLong: If it took longer.
    """
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for data
        if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
            yield
            return
        began = time.monotonic()
        handler = signal.signal(signal.SIGALRM, _stop)
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if left:  # somebody else's alarm goes on
                rest = max(0.001, left - (time.monotonic() - began))
                signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise TookTooLong("it did not end in time")


def _require(what: str, field: str, kind: str, value: object) -> None:
    if kind in PLAIN and not PLAIN[kind](value):
        raise PluginError(f"{what}: {field} is {value!r:.60}, {kind} was expected")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, tuple) and all(map(holds, value))
