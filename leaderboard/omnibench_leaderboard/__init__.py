"""Records in, statements out: statistics, tables and pages. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnibench.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def omnibench_commands(cli: click.Group) -> None:
    """Add `omnibench leaderboard …`, `omnibench verify` and `omnibench reproduce`."""
    from omnibench_leaderboard.commands import leaderboard, verify
    from omnibench_leaderboard.reproduce.command import reproduce

    cli.add_command(leaderboard)
    cli.add_command(verify)
    cli.add_command(reproduce)
