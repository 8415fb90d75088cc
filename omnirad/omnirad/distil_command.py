"""`python -m omnirad distil`; importing this imports neither torch nor numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from omnirad import console
from omnirad.commands import Command


@click.command(cls=Command)
@click.option("--teacher", required=True, metavar="PATH", help="Weights of DINOv2-S, or dinov2")
@click.option("--data", multiple=True, required=True, metavar="SPEC", help="As in pretrain")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make: encoder/, log.jsonl, distil.json",
)
@click.option(
    "--cache",
    required=True,
    type=click.Path(path_type=Path),
    help="File of the teacher's features; made if absent, and shared by seeds",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of everything that is random")
def distil(**options: Any) -> None:
    """Teach a nano encoder what a frozen DINOv2-S sees in training images."""
    from omnirad.distil_job import run

    with console.progress() as progress:
        target = run(**options, progress=progress)
    click.echo(json.dumps({"encoder": str(target)}))
