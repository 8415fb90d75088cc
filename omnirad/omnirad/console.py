"""What is said while a run goes on, to stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnirad.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SILENCE = 10.0  # seconds between two lines
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """Return text without control and bidirectional characters, which could forge output."""
    return CONTROL.sub("", str(text))


def setup_logging() -> None:
    """Send the log of this package to stderr, one line a message."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("omnirad").setLevel(logging.INFO)


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a bar with the time left on a terminal, or lines."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield Bars(bars)


class Bars:
    """One bar at a time (a `Progress`), replaced when a new stretch begins."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False, note="")

    def start(self, label: str, total: int) -> None:
        """Replace the bar."""
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(plain(label), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar."""
        self._bars.update(self._task, advance=steps, note=plain(note))


class Lines:
    """A line at the start of a stretch, then one every ten seconds (a `Progress`)."""

    def __init__(self) -> None:
        self._label, self._total, self._done = "", 0, 0
        self._spoke = time.monotonic()

    def start(self, label: str, total: int) -> None:
        """Say what begins."""
        self._label, self._total, self._done = plain(label), total, 0
        self._spoke = time.monotonic()
        self._say("")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say how far it is, if the last line is old or this is the end."""
        self._done += steps
        if time.monotonic() - self._spoke >= SILENCE or self._done == self._total:
            self._spoke = time.monotonic()
            self._say(plain(note))

    def _say(self, note: str) -> None:
        said = f"{self._label}: {self._done}/{self._total} {note}".rstrip()
        print(said, file=sys.stderr, flush=True)
