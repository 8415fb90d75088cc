r"""A board as LaTeX tables: `\usepackage{booktabs}` and `\input{tables}`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Board, Column
from omnibench_leaderboard.outputs import tables
from omnibench_leaderboard.outputs.inert import latex as inert

WIDTH = 4  # datasets side by side that fit a page of a thesis or a paper's two columns
LEGEND = (
    r"Bold: best mean, separated from all others after Holm's correction; \dag: best mean or not "
    "separated from it."
)


def render(board: Board) -> str:
    """Return LaTeX: a table for each family of columns, then one for each dataset."""
    lines = [r"% Needs \usepackage{booktabs}."]
    for family in tables.families(board):
        parts = tables.chunks(family.columns, WIDTH)
        for number, columns in enumerate(parts, 1):
            part = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
            lines += _family(family, columns, part)
        for column in family.columns:
            lines += _column(board, column)
    return "\n".join(lines) + "\n"


def _family(family: tables.Family, columns: Sequence[Column], part: str) -> Iterable[str]:
    ranked = family.overall is not None
    heading = ["encoder", *(inert(column.setting.dataset) for column in columns)]
    rows = []
    for label in family.encoders:
        cells = [family.cells[label].get(column.setting.dataset) for column in columns]
        values = [
            "--" if cell is None else _marked(show.mean_sd(cell, column.unit), column, label)
            for column, cell in zip(columns, cells, strict=True)
        ]
        rank = family.mean_ranks.get(label)
        ranks = ["--" if rank is None else f"{rank:.2f}"] if ranked else []
        rows.append([inert(label), *values, *ranks])
    units = " and ".join(sorted({tables.unit(column) for column in columns}))
    cases = ", ".join(f"{column.setting.dataset} {column.cases}" for column in columns)
    caption = (
        f"{inert(family.title)}, {inert(units)}; mean $\\pm$ SD over n = {inert(family.runs)}"
        f"{inert(part)}. Test cases: {inert(cases)}. {LEGEND}{_remarks(columns)}"
    )
    yield from _table(caption, [*heading, *(["mean rank"] if ranked else [])], rows)


def _column(board: Board, column: Column) -> Iterable[str]:
    rows = []
    for cell in column.cells:
        texts = [inert(text) for text in tables.line(board, column, cell)]
        texts[1] = _marked(show.mean_sd(cell, column.unit), column, cell.encoder)
        rows.append(texts)
    for printed in column.published:
        if not printed.reason:
            value = inert(tables.printed(printed, column))
            name = rf"$\circ$ {inert(printed.encoder)}"
            rows.append([name, value, *(["--"] * (len(tables.HEADING) - 2))])
    hollow = any(not row.reason for row in column.published)
    caption = (
        f"{inert(column.setting.title)}: {inert(column.metric)} {inert(tables.arrow(column))} in "
        f"{inert(tables.facts(column))}; differences are against "
        f"{inert(tables.beside(board, column))}. {LEGEND}{_remarks([column])}"
        + (r" $\circ$: printed in a paper, not ranked." if hollow else "")
    )
    heading = [inert(text) for text in tables.HEADING]
    yield from _table(caption, heading, rows, size=r"\scriptsize")


def _marked(text: str, column: Column, label: str) -> str:
    cell = next(cell for cell in column.cells if cell.encoder == label)
    kind, value = tables.mark(column, cell), inert(text)
    return {tables.BEST: rf"\textbf{{{value}}}", tables.TIED: rf"{value}\,\dag"}.get(kind, value)


def _remarks(columns: Sequence[Column]) -> str:
    notes = sorted({note for column in columns for note in column.notes})
    return "".join(f" {inert(note[:1].upper() + note[1:])}." for note in notes)


def _table(
    caption: str, heading: Sequence[str], rows: Iterable[Sequence[str]], size: str = r"\small"
) -> Iterable[str]:
    yield from ("", r"\begin{table}", r"\centering", size, r"\setlength{\tabcolsep}{3pt}")
    yield rf"\caption{{{caption}}}"
    yield rf"\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}"
    yield from (r"\toprule", " & ".join(heading) + r" \\", r"\midrule")
    yield from (" & ".join(row) + r" \\" for row in rows)
    yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")
