"""Figures with a row for each encoder: differences, seeds, ranks that remain open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Column, Comparison, Overall
from omnibench_leaderboard.outputs import tables
from omnibench_leaderboard.outputs.figures.svg import Drawing, Scale, short, width_of

ROW = 22  # pixels
PLOT = 420
MARGIN = 12
FOOT = 44


@dataclass(frozen=True)
class Difference:
    """A row of a forest plot: `label`, its comparison, and the column that this belongs to."""

    label: str
    comparison: Comparison
    column: Column


def forest(rows: Sequence[Difference], title: str) -> str:
    """Draw differences with intervals, and each row's margin of equivalence as a band."""
    name = width_of([row.label for row in rows]) + 2 * MARGIN
    text = width_of([_difference(row) for row in rows]) + 2 * MARGIN
    scales = [show.scale(row.column.unit) for row in rows]
    reach = [0.0]
    for row, factor in zip(rows, scales, strict=True):
        reach += [factor * value for value in (row.comparison.interval or ())]
        reach += [factor * row.comparison.difference]
        reach += [factor * s * row.column.margin for s in (-1, 1) if row.column.margin is not None]
    x = Scale(reach, name, name + PLOT)
    told = "; ".join(f"{row.label} {_difference(row)}" for row in rows)
    height = ROW * len(rows) + FOOT + MARGIN
    drawing = Drawing(name + PLOT + text, height, title, told)
    foot = MARGIN + ROW * len(rows)
    for i, (row, factor) in enumerate(zip(rows, scales, strict=True)):
        y = MARGIN + ROW * i + ROW / 2
        margin = row.column.margin
        if margin is not None:
            left, right = x(-factor * margin), x(factor * margin)
            drawing.rect(left, y - ROW / 2, right - left, ROW, "band")
        drawing.text(name - MARGIN, y + 4, row.label, "end")
        value = x(factor * row.comparison.difference)
        if row.comparison.interval is not None:
            low, high = (x(factor * bound) for bound in row.comparison.interval)
            drawing.line(low, y, high, y, "range")
        kind = {"better": "better", "worse": "worse"}.get(row.comparison.verdict, "open")
        draw = drawing.diamond if kind == "worse" else drawing.dot
        draw(value, y, 5, kind, _difference(row))
        drawing.text(name + PLOT + MARGIN, y + 4, _difference(row), kind="faint")
    drawing.line(x(0), MARGIN, x(0), foot, "zero")
    _axis(drawing, x, foot, "difference; band: margin of equivalence")
    return drawing.render()


def _difference(row: Difference) -> str:
    comparison, unit = row.comparison, row.column.unit
    shown = show.difference(comparison.difference, unit)
    bounds = show.interval(comparison.interval, unit, signed=True)
    return f"{shown} {bounds} {tables.verdict(comparison)}"


def seeds(column: Column) -> str:
    """Draw every run as a dot, mean and interval of each encoder, and printed values hollow."""
    factor, unit = show.scale(column.unit), column.unit
    printed = [row for row in column.published if not row.reason]
    labels = [cell.encoder for cell in column.cells] + [f"○ {row.encoder}" for row in printed]
    name = width_of(labels) + 2 * MARGIN
    reach = [factor * v for cell in column.cells for v in (*cell.values, *(cell.interval or ()))]
    x = Scale([*reach, *(factor * row.value for row in printed)], name, name + PLOT)
    told = [
        f"{cell.encoder} {show.mean_sd(cell, unit)}, 95 % {show.interval(cell.interval, unit)}"
        for cell in column.cells
    ]
    told += [f"{row.encoder}, printed: {tables.printed(row, column)}" for row in printed]
    height = ROW * len(labels) + FOOT + MARGIN
    title = f"Runs on {column.setting.dataset}, {column.metric}"
    drawing = Drawing(name + PLOT + MARGIN, height, title, "; ".join(told))
    for i, label in enumerate(labels):
        drawing.text(name - MARGIN, MARGIN + ROW * (i + 0.5) + 4, label, "end")
    for i, cell in enumerate(column.cells):
        y = MARGIN + ROW * (i + 0.5)
        if cell.interval is not None:
            low, high = (x(factor * bound) for bound in cell.interval)
            drawing.line(low, y, high, y, "range")
        drawing.line(x(factor * cell.mean), y - 6, x(factor * cell.mean), y + 6, "range")
        for seed, value in zip(cell.seeds, cell.values, strict=True):
            note = f"{cell.encoder}, seed {seed}: {show.number(value, unit)}"
            drawing.dot(x(factor * value), y, 3.5, "seed", note)
    for i, row in enumerate(printed, len(column.cells)):
        y = MARGIN + ROW * (i + 0.5)
        drawing.diamond(x(factor * row.value), y, 5, "hollow", row.source)
    foot = MARGIN + ROW * len(labels)
    label = f"{column.metric} ({tables.unit(column)}); dots: runs, line: 95 % of the mean"
    _axis(drawing, x, foot, label)
    return drawing.render()


def stability(overall: Overall) -> str:
    """Draw the rank by mean with the ranks that a bootstrap over datasets leaves open."""
    rows = sorted(overall.standings, key=lambda row: (row.rank, row.encoder))
    texts = [f"first in {100 * row.first:.0f} %" for row in rows]
    name = width_of([row.encoder for row in rows]) + 2 * MARGIN
    x = Scale([1.0, float(len(rows))], name, name + PLOT)
    told = "; ".join(
        f"{row.encoder} rank {row.rank}, {row.rank_low} to {row.rank_high}, {text}"
        for row, text in zip(rows, texts, strict=True)
    )
    height = ROW * len(rows) + FOOT + MARGIN
    title = f"Stability of ranks by mean over {len(overall.datasets)} datasets"
    drawing = Drawing(name + PLOT + width_of(texts) + 2 * MARGIN, height, title, told)
    foot = MARGIN + ROW * len(rows)
    for rank in range(1, len(rows) + 1):
        drawing.line(x(rank), MARGIN, x(rank), foot, "grid")
        drawing.text(x(rank), foot + 16, str(rank), "middle")
    for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
        y = MARGIN + ROW * (i + 0.5)
        drawing.text(name - MARGIN, y + 4, row.encoder, "end")
        drawing.line(x(row.rank_low), y, x(row.rank_high), y, "range")
        drawing.dot(x(row.rank), y, 5, "point")
        drawing.text(name + PLOT + MARGIN, y + 4, text, kind="faint")
    drawing.text(name + PLOT / 2, foot + 34, "rank (line: 95 % over resampled datasets)", "middle")
    return drawing.render()


def _axis(drawing: Drawing, x: Scale, foot: float, label: str) -> None:
    drawing.line(x.start, foot, x.stop, foot, "axis")
    for tick in x.ticks:
        drawing.line(x(tick), foot, x(tick), foot + 4, "axis")
        drawing.text(x(tick), foot + 16, short(tick), "middle")
    drawing.text((x.start + x.stop) / 2, foot + 34, label, "middle")
