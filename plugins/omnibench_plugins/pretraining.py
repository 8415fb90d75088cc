"""`omnibench pretrain`: the command of the package `omnirad`, which knows no benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnibench.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def omnibench_commands(cli: click.Group) -> None:
    """Add `omnibench pretrain`."""
    from omnirad.commands import pretrain

    cli.add_command(pretrain)
