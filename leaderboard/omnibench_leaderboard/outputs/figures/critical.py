"""The critical-difference diagram (Demsar, 2006): mean ranks, and who is not separated."""

from __future__ import annotations

from omnibench_leaderboard.board import Overall, Standing
from omnibench_leaderboard.outputs.figures.svg import Drawing, width_of

PLOT = 400  # pixels
STEP = 18
TOP = 62


def diagram(overall: Overall) -> str | None:
    """Draw mean ranks; bars join encoders that Nemenyi's test does not separate.

    Returns:
        None for two encoders, for which there is no such test.
    """
    if overall.critical_difference is None:
        return None
    rows, count = overall.standings, len(overall.standings)
    half = (count + 1) // 2
    side = width_of([_label(row) for row in rows]) + 16
    bars = TOP + 10 * len(overall.cliques)
    drawing = Drawing(
        2 * side + PLOT,
        bars + STEP * half + 24,
        f"Critical-difference diagram over {len(overall.datasets)} datasets",
        _told(overall),
    )
    _ruler(drawing, side, count, overall.critical_difference)
    for i, row in enumerate(rows):
        left = i < half
        x = _x(row.mean_rank, side, count)
        y = bars + STEP * ((i if left else count - 1 - i) + 1)
        edge = side if left else side + PLOT
        drawing.path([(x, TOP), (x, y), (edge, y)], "link")
        drawing.text(edge + (-6 if left else 6), y + 4, _label(row), "end" if left else "start")
    by_name = {row.encoder: row.mean_rank for row in rows}
    for i, clique in enumerate(overall.cliques):
        ranks = [by_name[label] for label in clique]
        y = TOP + 10 * (i + 1)
        first, last = _x(min(ranks), side, count), _x(max(ranks), side, count)
        drawing.line(first - 3, y, last + 3, y, "bar")
    return drawing.render()


def _ruler(drawing: Drawing, side: float, count: int, critical: float) -> None:
    drawing.line(side, TOP, side + PLOT, TOP, "axis")
    for rank in range(1, count + 1):
        x = _x(rank, side, count)
        drawing.line(x, TOP, x, TOP - 5, "axis")
        drawing.text(x, TOP - 9, str(rank), "middle")
    length = critical * PLOT / (count - 1)
    text = f"critical difference {critical:.2f}"
    if length > drawing.width - side - 16:
        # A bar as long as this would leave the canvas, and would say no more.
        drawing.text(side, 18, f"{text}: longer than the whole scale, nothing is separated")
        return
    drawing.line(side, 26, side + length, 26, "bar")
    drawing.text(side, 16, text)


def _x(rank: float, side: float, count: int) -> float:
    return side + (rank - 1) / (count - 1) * PLOT


def _label(row: Standing) -> str:
    return f"{row.encoder} {row.mean_rank:.2f}"


def _told(overall: Overall) -> str:
    ranks = "; ".join(_label(row) for row in overall.standings)
    groups = "; ".join(", ".join(clique) for clique in overall.cliques) or "none"
    return f"Mean ranks, 1 is best: {ranks}. Not separated: {groups}."
