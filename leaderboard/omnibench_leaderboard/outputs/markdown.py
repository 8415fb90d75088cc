"""A board as a GitHub table for every family of columns, and one for every dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.board import Board, Column
from omnibench_leaderboard.outputs import tables
from omnibench_leaderboard.outputs.inert import markdown as inert

LEGEND = (
    "**Bold**: the best mean, separated from all others after Holm's correction; "
    "†: the best mean or not separated from it; ○: a printed value, not ranked."
)


def render(board: Board) -> str:
    """Return Markdown."""
    return "\n".join(_lines(board)).rstrip() + "\n"


def _lines(board: Board) -> Iterable[str]:
    yield "# Leaderboard"
    yield ""
    yield LEGEND
    for family in tables.families(board):
        yield from ("", f"## {inert(family.title)}", "")
        yield from _family(family)
        for column in family.columns:
            yield from ("", f"### {inert(column.setting.title)}", "")
            yield from _column(board, column)
    yield from ("", "## Encoders", "")
    rows = [(inert(e.label), inert(e.name), inert(tables.rights(e))) for e in board.encoders]
    yield from _table(("label", "encoder", "licence and weights"), rows)
    yield from ("", "## Methods", "")
    yield from (f"- {inert(text)}" for text in board.methods.texts)
    yield from (f"- {inert(code)}: {inert(meaning)}" for code, meaning in board.methods.flags)
    yield from (f"- {inert(name)} {inert(value)}" for name, value in board.methods.versions)
    if remarks := tables.left_out(board):
        yield from ("", "## Left out", "")
        yield from (f"- {inert(text)}" for text in remarks)


def _family(family: tables.Family) -> Iterable[str]:
    heading = ["encoder", *(inert(column.setting.dataset) for column in family.columns)]
    rows = [
        [
            inert(label),
            *(_value(family, column, label) for column in family.columns),
            f"{family.mean_ranks[label]:.2f}" if label in family.mean_ranks else "–",
        ]
        for label in family.encoders
    ]
    if not family.overall:
        yield from _table(heading, [row[:-1] for row in rows])
        return
    yield from _table([*heading, "mean rank"], rows)


def _value(family: tables.Family, column: Column, label: str) -> str:
    cell = family.cells[label].get(column.setting.dataset)
    return "–" if cell is None else _marked(show.mean_sd(cell, column.unit), column, label)


def _marked(text: str, column: Column, label: str) -> str:
    cell = next(cell for cell in column.cells if cell.encoder == label)
    kind = tables.mark(column, cell)
    return {tables.BEST: f"**{text}**", tables.TIED: f"{text} †"}.get(kind, text)


def _column(board: Board, column: Column) -> Iterable[str]:
    yield f"{inert(column.metric)} {tables.arrow(column)}; {inert(tables.facts(column))}."
    yield f"Differences are against {inert(tables.beside(board, column))}."
    yield ""
    rows = []
    for cell in column.cells:
        row = tables.compared(board, column, cell)
        texts = [inert(text) for text in tables.line(board, column, cell)]
        texts[1] = _marked(show.mean_sd(cell, column.unit), column, cell.encoder)
        rows.append([*texts, inert("; ".join(map(tables.flag_short, tables.flags(cell, row))))])
    for printed in column.published:
        if not printed.reason:
            value = tables.printed(printed, column)
            empty = ("–",) * (len(tables.HEADING) - 2)
            rows.append([f"○ {inert(printed.encoder)}", value, *empty, inert(printed.source)])
    yield from _table((*tables.HEADING, "flags"), rows)
    if notes := [*column.notes, *tables.published(column)]:
        yield ""
        yield from (f"- {inert(note)}" for note in notes)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|" + " --- |" * len(heading)
    yield from (f"| {' | '.join(row)} |" for row in rows)
