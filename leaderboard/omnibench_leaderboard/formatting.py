"""Numbers as every output shows them; what they mean stands in `board.py`."""

from __future__ import annotations

from omnibench_leaderboard.board import Cell, Column, Interval

SMALLEST_P = 1e-4  # below it p is shown as an inequality (statistics.md 1.5)


def scale(unit: str) -> float:
    """Return by what a value of a unit is multiplied: fractions are shown in percent."""
    return 100.0 if unit == "fraction" else 1.0


def number(value: float, unit: str) -> str:
    """Return a value with two decimals of a percent point, four of a plain score."""
    return f"{scale(unit) * value:.{_digits(unit)}f}"


def difference(value: float, unit: str) -> str:
    """Return a value with its sign."""
    return f"{scale(unit) * value:+.{_digits(unit)}f}"


def mean_sd(cell: Cell, unit: str) -> str:
    """Return `mean ± sd`, or the value of a single run."""
    mean = number(cell.mean, unit)
    return mean if cell.sd is None else f"{mean} ± {number(cell.sd, unit)}"


def interval(bounds: Interval | None, unit: str, *, signed: bool = False) -> str:
    """Return `[low, high]`, a dash where there is none."""
    if bounds is None:
        return "–"
    shown = difference if signed else number
    return f"[{shown(bounds[0], unit)}, {shown(bounds[1], unit)}]"


def p_value(p: float | None) -> str:
    """Return p with two significant digits, `<1e-4` below, a dash where there is none."""
    if p is None:
        return "–"
    return "<1e-4" if p < SMALLEST_P else f"{p:.2g}"


def rank(cell: Cell, column: Column) -> str:
    """Return the rank with those that tests leave open; encoders tied with the best share 1."""
    own = 1 if cell.tied and column.headline else cell.rank
    if cell.rank_interval is None or len(column.cells) == 1:
        return str(own)
    low, high = cell.rank_interval
    return f"{own} ({low}–{high})"


def runs(cell: Cell) -> str:
    """Return the number of runs, and of how many where some are missing."""
    return f"{cell.n}/{cell.n + len(cell.missing)}" if cell.missing else str(cell.n)


def _digits(unit: str) -> int:
    return 2 if unit == "fraction" else 4
