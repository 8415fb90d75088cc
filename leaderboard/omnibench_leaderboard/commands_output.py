"""`leaderboard build` and `leaderboard publish`; importing them imports neither pandas nor numpy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from omnibench import console
from omnibench.errors import SetupError
from omnibench_leaderboard.options import (
    answers,
    collected,
    confirm_option,
    discovered,
    metric_option,
    plugin_option,
    reference_option,
    results_argument,
)

Command = TypeVar("Command", bound=Callable[..., Any])

if TYPE_CHECKING:
    from omnibench_leaderboard.board import Board
    from omnibench_leaderboard.runs import Collection


def _out(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        help="Folder to write; one that an earlier build wrote is replaced",
    )


@click.command(epilog="Example: omnibench leaderboard build results --out site")
@results_argument
@_out("site")
@reference_option
@metric_option
@confirm_option
@plugin_option
def build(
    results: Sequence[Path],
    out: Path,
    reference: str | None,
    metric: str | None,
    confirm: Sequence[Path],
    plugins: Sequence[Path],
) -> None:
    """Write tables, figures and a static site of RESULTS (default: results)."""
    from omnibench_leaderboard.outputs import folder
    from omnibench_leaderboard.outputs.files import files

    folder.require_replaceable(out)
    board, _ = _board(results, reference, metric, confirm, plugins)
    made = files(board)
    folder.replace(out, made)
    _report(board, out, len(made))


@click.command(epilog="Example: omnibench leaderboard publish results --out public")
@results_argument
@_out("public")
@reference_option
@metric_option
@confirm_option
@plugin_option
def publish(
    results: Sequence[Path],
    out: Path,
    reference: str | None,
    metric: str | None,
    confirm: Sequence[Path],
    plugins: Sequence[Path],
) -> None:
    """Write a folder for GitHub Pages or a static Hugging Face Space: the site and its records.

    Nothing is uploaded. Of folder: data only the numbers on the board are written.
    """
    from omnibench_leaderboard.outputs import folder
    from omnibench_leaderboard.outputs.publish import bundle

    folder.require_replaceable(out)
    board, collection = _board(results, reference, metric, confirm, plugins)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            made = bundle(board, collection, Path(scratch))
            folder.replace(out, made.files)
    except OSError as error:
        raise SetupError(
            f"the records could not be packed ({error.filename or tempfile.gettempdir()}: "
            f"{error.strerror or error}); free space, or name another folder with TMPDIR"
        ) from None
    _report(board, out, len(made.files))
    lines = [f"records: {made.runs} runs, {made.pictures} pictures"]
    if made.private:
        lines.append(f"not published: the records of {made.private} runs of folder: data")
    restricted = [encoder.label for encoder in board.encoders if encoder.commercial is False]
    if restricted:
        lines.append(f"weights for non-commercial use: {', '.join(restricted)}")
    console.print_lines(lines)


def _board(
    results: Sequence[Path],
    reference: str | None,
    metric: str | None,
    confirm: Sequence[Path],
    plugins: Sequence[Path],
) -> tuple[Board, Collection]:
    from omnibench_leaderboard.build import build as board_of

    registry, kept = discovered(plugins), answers()
    collection = collected(results, registry, kept, confirm)
    board = board_of(collection, registry, reference=reference, metric=metric, cache=kept)
    return board, collection


def _report(board: Board, out: Path, count: int) -> None:
    left_out = len(board.exclusions) + len(board.missing)
    made = f"{len(board.encoders)} encoders, {len(board.headlines)} headline columns, {count} files"
    reasons = f"left out: {left_out}; reasons stand on the methods page"
    console.print_lines([f"{out / 'index.html'}: {made}", reasons])
