"""`omnibench merge`: the records of several machines in one results folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from omnibench import console
from omnibench.commands.options import json_option
from omnibench.errors import IntegrityError


@click.command(epilog="Example: omnibench merge node1/results node2/results --into results")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="The results folder that is to hold them; may hold records already",
)
@json_option
def merge(sources: tuple[Path, ...], target: Path, as_json: bool) -> None:
    """Copy the records of SOURCES into one results folder, each checked before.

    Nothing is overwritten and nothing is moved; damaged records are named and left out.
    """
    from omnibench import merging

    with console.progress() as progress:
        merged = merging.merge(tuple(dict.fromkeys(sources)), target, progress)
    if as_json:
        told = [{**asdict(one), "source": str(one.source)} for one in merged]
        click.echo(json.dumps(told, indent=1))
    else:
        rows = [(one.source, one.copied, one.known, len(one.damaged)) for one in merged]
        console.print_table(("from", "copied", "already there", "damaged"), rows)
    for reason in (reason for one in merged for reason in one.damaged):
        console.error(reason)
    if any(one.damaged for one in merged):
        raise SystemExit(IntegrityError.exit_code)
