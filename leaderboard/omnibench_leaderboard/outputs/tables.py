"""What tables show of a board, in words that every format shares; formats only escape it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Board, Cell, Column, Comparison, Encoder, Overall, Published
from omnibench_leaderboard.runs import Setting

BEST, TIED = "best", "tied"
UNITS = {"fraction": "percent"}


@dataclass(frozen=True)
class Family:
    """Headline columns that differ in nothing but their dataset: one table, encoders in rows.

    Args:
        setting: What they share; its dataset is empty.
        overall: The ranking across these datasets, where at least two are complete.
    """

    setting: Setting
    metric: str
    columns: tuple[Column, ...]
    overall: Overall | None

    @property
    def title(self) -> str:
        """One line that names it."""
        return f"{self.setting.title} · {self.metric} {arrow(self.columns[0])}"

    @cached_property
    def cells(self) -> dict[str, dict[str, Cell]]:
        """Cells by encoder and dataset."""
        found: dict[str, dict[str, Cell]] = defaultdict(dict)
        for column in self.columns:
            for cell in column.cells:
                found[cell.encoder][column.setting.dataset] = cell
        return dict(found)

    @cached_property
    def mean_ranks(self) -> dict[str, float]:
        """Mean rank across datasets by encoder; those without all cells have none."""
        standings = self.overall.standings if self.overall else ()
        return {row.encoder: row.mean_rank for row in standings}

    @property
    def encoders(self) -> list[str]:
        """Labels: best mean rank first, then those without one by how many datasets they lack."""
        sign = -1 if self.columns[0].higher_is_better else 1

        def key(label: str) -> tuple[float, int, float, str]:
            cells = self.cells[label]
            mean = sum(cell.mean for cell in cells.values()) / len(cells)
            ranked = self.mean_ranks.get(label, float("inf"))
            return ranked, -len(cells), sign * mean, label

        return sorted(self.cells, key=key)

    @property
    def runs(self) -> str:
        """Number of runs a cell."""
        return runs([cell for column in self.columns for cell in column.cells])


def families(board: Board) -> list[Family]:
    """Group headline columns into tables."""
    groups: dict[tuple[Setting, str], list[Column]] = defaultdict(list)
    for column in board.headlines:
        groups[replace(column.setting, dataset=""), column.metric].append(column)
    rankings = {(each.setting, each.metric): each for each in board.overall}
    return [
        Family(setting, metric, tuple(columns), rankings.get((setting, metric)))
        for (setting, metric), columns in sorted(groups.items())
    ]


def runs(cells: Sequence[Cell]) -> str:
    """Return the number of runs a cell: `1 run`, `5 runs` or `3–5 runs`."""
    counts = [cell.n for cell in cells]
    low, high = min(counts), max(counts)
    shown = str(low) if low == high else f"{low}–{high}"
    return f"{shown} {'run' if high == 1 else 'runs'}"


def arrow(column: Column) -> str:
    """Return the direction in which a column's numbers improve."""
    return "↑" if column.higher_is_better else "↓"


def unit(column: Column) -> str:
    """Return the unit as tables name it."""
    return UNITS.get(column.unit, column.unit)


def mark(column: Column, cell: Cell) -> str:
    """Return `best` for a best mean that is separated from all others, `tied` for a tie with it.

    The best itself is `tied` where anything is tied with it; a column of one cell has no marks,
    and neither has a metric that no inference is made for.
    """
    if not column.headline or len(column.cells) < 2 or not cell.tied:
        return ""
    return TIED if sum(other.tied for other in column.cells) > 1 else BEST


def beside(board: Board, column: Column) -> str:
    """Return the label that a column's differences are taken against."""
    labels = {cell.encoder for cell in column.cells}
    return board.reference if board.reference in labels and board.reference else column.best


def compared(board: Board, column: Column, cell: Cell) -> Comparison | None:
    """Return a cell's comparison with the reference, or with the best of its column."""
    named = board.reference is not None and beside(board, column) == board.reference
    return cell.against_reference if named else cell.against_best


def verdict(row: Comparison | None) -> str:
    """Return a verdict, and that the interval lies within the margin in spite of it."""
    if row is None:
        return "–"
    inside = row.within_margin and row.verdict in ("better", "worse")
    return f"{row.verdict}, within margin" if inside else row.verdict


HEADING = ("encoder", "mean ± sd", "n", "95 %", "rank", "difference", "95 %", "p(Holm)", "verdict")


def line(board: Board, column: Column, cell: Cell) -> tuple[str, ...]:
    """Return a cell as the texts under `HEADING`."""
    row, kind = compared(board, column, cell), column.unit
    return (
        cell.encoder,
        show.mean_sd(cell, kind),
        show.runs(cell),
        show.interval(cell.interval, kind),
        show.rank(cell, column),
        "–" if row is None else show.difference(row.difference, kind),
        "–" if row is None else show.interval(row.interval, kind, signed=True),
        "–" if row is None else show.p_value(row.p_adjusted),
        verdict(row),
    )


def facts(column: Column) -> str:
    """Return unit, runs, cases and margin of a column, for its caption."""
    parts = [unit(column), f"n = {runs(column.cells)} a cell"]
    parts.append(f"{column.cases} test cases" if column.cases else "number of cases unknown")
    if column.clusters is not None:
        parts[-1] += f" in {column.clusters} groups"
    if column.margin is not None:
        parts.append(f"margin ±{show.number(column.margin, column.unit)}")
    return ", ".join(parts)


def printed(row: Published, column: Column) -> str:
    """Return a published value as it was printed."""
    value = show.number(row.value, column.unit)
    return value if row.sd is None else f"{value} ± {show.number(row.sd, column.unit)}"


def published(column: Column) -> list[str]:
    """Return what papers print, a sentence each, with the reason where it is not comparable."""
    return [
        f"{row.encoder} {printed(row, column)} ({row.printed_metric}, {row.source}), "
        f"{row.reason or 'same metric and recipe; not ranked'}"
        for row in column.published
    ]


def flag_code(flag: str) -> str:
    """Return the code of a flag such as `MISSING_RUNS 4/5` or `RANDOM: …`."""
    return flag.partition(" ")[0].rstrip(":")


def flag_short(flag: str) -> str:
    """Return a flag without its meaning: `MISSING_RUNS 4/5` or `RANDOM`."""
    return flag.partition(":")[0]


def flags(cell: Cell, row: Comparison | None) -> tuple[str, ...]:
    """Return the flags of a cell and of its comparison, each once."""
    return tuple(dict.fromkeys((*cell.flags, *(row.flags if row else ()))))


def rights(encoder: Encoder) -> str:
    """Return licence and weights of an encoder as one remark."""
    told = encoder.licence or "licence unknown"
    if encoder.commercial is False and "non-commercial" not in told:
        told += ", non-commercial"
    return f"{told}; {encoder.weights} weights"


def left_out(board: Board) -> list[str]:
    """Return what is not on the board, a sentence each."""
    unfinished = [f"unfinished: {text}" for text in board.missing]
    return unfinished + [f"{item.kind}: {item.what}: {item.reason}" for item in board.exclusions]


def chunks(columns: Sequence[Column], size: int) -> list[Sequence[Column]]:
    """Cut a wide table into parts that fit a page."""
    return [columns[start : start + size] for start in range(0, len(columns), size)]
