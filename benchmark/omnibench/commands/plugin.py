"""`omnibench plugin new`: where somebody's own encoder begins."""

from __future__ import annotations

from pathlib import Path

import click

from omnibench import console


@click.group()
def plugin() -> None:
    """Begin a plugin of your own."""


@plugin.command(epilog="Example: omnibench plugin new acme-vit")
@click.argument("name")
@click.option(
    "--into",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to make it in; here by default",
)
def new(name: str, parent: Path) -> None:
    """Write a package with an encoder NAME that passes `omnibench check` as it stands."""
    from omnibench.scaffold.writing import write

    folder = write(name, parent)
    console.print_lines(
        [
            f"{folder} is written. Next:",
            f"  pip install -e {folder}",
            f"  omnibench check {name} --random-weights",
        ]
    )
