"""`omnibench status`: what is finished, running, left unfinished or failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnibench import console
from omnibench.commands.options import json_option

if TYPE_CHECKING:
    from omnibench.status import CellStatus, Status


@click.command(epilog="Exit code 0; 4 if a record is damaged")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="Where records lie"
)
@json_option
def status(results: Path, as_json: bool) -> None:
    """Show what of the runs in a results folder is finished, running or failed."""
    from omnibench.status import look

    found = look(results)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        _print(found)
    if found.exit_code:
        raise SystemExit(found.exit_code)


def _print(found: Status) -> None:
    if found.cells:
        columns = ("cell", "finished", "failed", "interrupted")
        console.print_table(columns, [_row(cell) for cell in found.cells], title="seeds")
    for cell in found.cells:
        for seed, failure in cell.failed.items():
            told = f"{failure.get('kind', '')}: {failure.get('message', '')}"
            console.print_lines([f"{cell.cell} · seed {seed} FAILED, {told}"])
    if found.running:
        running = [(r.title, r.state, r.by, r.since, r.heartbeat) for r in found.running]
        console.print_table(("seed", "state", "by", "since", "sign of life"), running, "running")
    if found.unfinished:
        kept = [
            (item.title or item.run_id[:12], item.size, item.written, "yes" if item.running else "")
            for item in found.unfinished
        ]
        console.print_table(("seed", "bytes", "written", "running"), kept, title="unfinished")
        if not all(item.running for item in found.unfinished):
            console.print_lines(["The command that began an unfinished seed goes on with it."])
    console.print_lines([f"damaged: {reason}" for reason in found.damaged])


def _row(cell: CellStatus) -> tuple[str, str, str, str]:
    seeds = (cell.finished, sorted(cell.failed), cell.interrupted)
    finished, failed, interrupted = (", ".join(map(str, some)) for some in seeds)
    return cell.cell, finished, failed, interrupted
