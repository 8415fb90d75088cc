"""Everything that `leaderboard build` writes, from one board, as files in memory."""

from __future__ import annotations

from collections.abc import Mapping

from omnibench_leaderboard import board_json
from omnibench_leaderboard.board import Board
from omnibench_leaderboard.outputs import csv_table, latex, markdown
from omnibench_leaderboard.outputs.site.pages import Site

RENDERERS = {
    "tables.md": markdown.render,
    "tables.tex": latex.render,
    "board.csv": csv_table.render,
    "board.json": board_json.to_json,
}


def files(
    board: Board,
    downloads: tuple[str, ...] = (),
    *,
    records: frozenset[str] = frozenset(),
    sheets: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return tables, data, figures and pages by path; equal boards give equal bytes.

    Args:
        board: What to show.
        downloads: Further files that pages name.
        records: Paths of the records that lie beside the pages, under `records/`.
        sheets: Paths of pictures in the site, by path of the record that they belong to.
    """
    names = (*RENDERERS, *downloads)
    texts = Site(board, names, records=records, sheets=sheets).render()
    texts |= {name: render(board) for name, render in RENDERERS.items()}
    return {path: text.encode() for path, text in sorted(texts.items())}
