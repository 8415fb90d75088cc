"""Cost against quality: parameters, arithmetic and time of each encoder, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Cell, Column, Cost
from omnibench_leaderboard.outputs import tables
from omnibench_leaderboard.outputs.figures.svg import Drawing, Scale, number, short

PANEL = 300  # pixels
HEIGHT = 260
LEFT, TOP, FOOT, GAP = 56, 26, 46, 24
KEY = 20
COSTS: tuple[tuple[str, Callable[[Cost], float | None]], ...] = (
    ("parameters", lambda cost: cost.params_total),
    ("FLOPs an image", lambda cost: cost.flops_per_image),
    ("seconds a run", lambda cost: cost.seconds),
)


def cost(column: Column) -> str | None:
    """Draw a panel for each cost that is known; encoders are numbered, best first.

    Returns:
        None where no cost is known.
    """
    panels = [(name, of) for name, of in COSTS if any(of(cell.cost) for cell in column.cells)]
    if not panels:
        return None
    lines = (len(column.cells) + 2) // 3
    width = LEFT + len(panels) * (PANEL + GAP)
    drawing = Drawing(
        max(width, LEFT + 2 * (PANEL + GAP)),
        TOP + HEIGHT + FOOT + KEY * lines + 8,
        f"Cost and quality on {column.setting.dataset}, {column.metric}",
        _told(column, panels),
    )
    factor = show.scale(column.unit)
    reach = [factor * v for cell in column.cells for v in (cell.mean, *(cell.interval or ()))]
    y = Scale(reach, TOP + HEIGHT, TOP)
    for tick in y.ticks:
        drawing.text(LEFT - 8, y(tick) + 4, short(tick), "end")
        for i in range(len(panels)):
            start = LEFT + i * (PANEL + GAP)
            drawing.line(start, y(tick), start + PANEL, y(tick), "grid")
    drawing.text(4, 14, f"{column.metric} ({tables.unit(column)})")
    for i, (name, of) in enumerate(panels):
        _panel(drawing, column.cells, LEFT + i * (PANEL + GAP), y, name, of, factor)
    _key(drawing, column.cells)
    return drawing.render()


def _panel(
    drawing: Drawing,
    cells: Sequence[Cell],
    start: float,
    y: Scale,
    name: str,
    of: Callable[[Cost], float | None],
    factor: float,
) -> None:
    known = [(i, cell, value) for i, cell in enumerate(cells, 1) if (value := of(cell.cost))]
    x = Scale([value for _, _, value in known], start + 14, start + PANEL - 14, log=True)
    foot = TOP + HEIGHT
    drawing.line(start, foot, start + PANEL, foot, "axis")
    for tick in x.ticks:
        drawing.line(x(tick), foot, x(tick), foot + 4, "axis")
        drawing.text(x(tick), foot + 16, short(tick), "middle")
    drawing.text(start + PANEL / 2, foot + 34, f"{name} (log)", "middle")
    for place, cell, value in known:
        across, up = x(value), y(factor * cell.mean)
        if cell.interval is not None:
            low, high = (y(factor * bound) for bound in cell.interval)
            drawing.line(across, low, across, high, "range")
        drawing.dot(across, up, 4.5, "point", f"{cell.encoder}: {short(value)} {name}")
        drawing.text(across + 7, up - 5, number(place))


def _key(drawing: Drawing, cells: Sequence[Cell]) -> None:
    top = TOP + HEIGHT + FOOT + 14
    third = (drawing.width - LEFT) / 3
    for i, cell in enumerate(cells):
        row, place = divmod(i, 3)
        drawing.text(LEFT + place * third, top + KEY * row, f"{i + 1} {cell.encoder}", kind="faint")


def _told(column: Column, panels: Sequence[tuple[str, Callable[[Cost], float | None]]]) -> str:
    parts = []
    for cell in column.cells:
        known = [f"{short(value)} {name}" for name, of in panels if (value := of(cell.cost))]
        parts.append(f"{cell.encoder} {show.mean_sd(cell, column.unit)}: {', '.join(known)}")
    return "; ".join(parts)
