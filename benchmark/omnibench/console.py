"""The only file that draws on a terminal: progress and log to stderr, tables to stdout."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnibench.interfaces import Progress

if TYPE_CHECKING:
    from omnibench.summary import CellSummary, MetricRow

WHOLE = 24  # characters up to which the cells of a column are never broken
# Controls, marks and overrides of direction, and halves of characters, which cannot be printed.
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: object) -> str:
    """Return text without control and bidirectional characters, which could forge output."""
    return CONTROL.sub("", str(text))


def error(message: str) -> None:
    """Print an error message to stderr."""
    print(f"error: {plain(message)}", file=sys.stderr)


def setup_logging() -> None:
    """Send the log to stderr, one line a message."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("omnibench").setLevel(logging.INFO)
    logging.getLogger("omnibench_plugins").setLevel(logging.INFO)


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield bars with time left on a terminal, or a line now and then in a log file."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    with RichProgress(
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
        yield _Bars(bars)


class _Bars:
    """One rich bar at a time, replaced when a new stretch begins."""

    def __init__(self, bars: RichProgress) -> None:  # type: ignore[name-defined]  # noqa: F821
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False, note="")

    def start(self, label: str, total: int) -> None:
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(plain(label), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=steps, note=plain(note))


class _Lines:
    """A line at the start of a stretch, and one every ten seconds with the time left."""

    def __init__(self) -> None:
        self._label, self._total, self._done = "", 0, 0
        self._began = self._spoke = time.monotonic()

    def start(self, label: str, total: int) -> None:
        self._label, self._total, self._done = plain(label), total, 0
        self._began = self._spoke = time.monotonic()
        print(f"{self._label}: 0/{total}", file=sys.stderr, flush=True)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._spoke < 10:
            return
        self._spoke = now
        left = (now - self._began) / self._done * (self._total - self._done)
        print(
            f"{self._label}: {self._done}/{self._total}, {left:.0f} s left {plain(note)}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table to stdout, or, where a terminal is too narrow for it, a paragraph a row.

    Args:
        columns: Headings.
        rows: Cells; anything with a `str`.
        title: Line above the table.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    if title:
        print_lines([title])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        # Names are what users type next, and numbers make no sense broken in two.
        cells = [plain(row[number]) for row in rows]
        whole = number == 0 or all(len(cell) <= WHOLE for cell in cells)
        # Without a minimum rich would measure the longest word only, and crop the rest.
        width = max(map(cell_len, (column, *cells))) if whole else None
        table.add_column(column, overflow="fold", no_wrap=whole, min_width=width)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False)
    # Measured without a limit: rich would crop what is not to be wrapped.
    needed = Measurement.get(console, console.options.update(width=10_000), table).minimum
    if needed <= console.width:
        console.print(table)
    else:
        print_lines([_paragraph(columns, row, console.width) for row in rows])


def _paragraph(columns: Sequence[str], row: Sequence[object], width: int) -> str:
    """Return the first cell, and the others below it with their headings."""
    cells = [plain(cell) for cell in row]
    told = [f"{c} {cell}" for c, cell in zip(columns[1:], cells[1:], strict=True) if cell]
    return "\n".join(
        [
            cells[0],
            textwrap.fill(
                " · ".join(told),
                width,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            ),
        ]
    )


def print_lines(lines: Sequence[object]) -> None:
    """Print plain lines to stdout."""
    for line in lines:
        print(plain(line))


def print_summary(summary: CellSummary) -> None:
    """Print what a cell amounts to: metrics, cost, notes, records."""
    n = len(summary.seeds)
    heading = f"mean ± sd over {n} seeds" if n != 1 else "value of one run"
    shown = _shown(summary.rows)
    rows = [(row.id, _mean_sd(row), " | ".join(row.published) or "–") for row in shown]
    print_table(
        ("metric (test)", heading, "published, same metric"),
        rows,
        title=summary.title,
    )
    lines = [_cost_line(summary)] if summary.cost else []
    if len(shown) < len(summary.rows):
        lines.append(f"{len(summary.rows) - len(shown)} more metrics on other grids: --json")
    for seed, failure in summary.failed.items():
        said = failure["message"] if failure["message"] != failure["kind"] else "see the log"
        lines.append(f"seed {seed} FAILED ({failure['kind']}): {said}")
    lines += [f"note: {note}" for note in summary.notes]
    lines += [f"record: {path}" for path in summary.records]
    lines += [f"picture: {path}" for path in summary.pictures]
    print_lines([*lines, ""])


def _shown(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Leave out what is measured on another grid than the headline, unless a paper prints it."""
    if not rows:
        return []
    grid = rows[0].id.partition("@")[2]
    return [row for row in rows if row.published or row.id.partition("@")[2] in ("", grid)]


def _mean_sd(row: MetricRow) -> str:
    digits = 2 if row.unit == "fraction" else 4
    mean = f"{row.mean:.{digits}f}"
    return mean if row.sd is None else f"{mean} ± {row.sd:.{digits}f}"


def _cost_line(summary: CellSummary) -> str:
    cost = summary.cost
    parts = [
        f"trainable {cost['params_trainable']:,} of {cost['params_total']:,} parameters",
        f"{cost['seconds_per_seed']:.1f} s a seed",
        f"peak memory {cost['peak_memory_bytes'] / 2**30:.1f} GiB",
    ]
    if cost.get("flops_per_image"):
        parts.insert(1, f"{cost['flops_per_image'] / 1e9:.3g} GFLOP an image")
    return ", ".join(parts)
