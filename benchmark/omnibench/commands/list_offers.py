"""`omnibench list`: what can be run, and what plugins bring."""

from __future__ import annotations

import json
from pathlib import Path

import click

from omnibench import console
from omnibench.commands.options import json_option, plugin_option, registry_of


@click.command("list")
@click.argument(
    "what", type=click.Choice(["encoders", "tasks", "datasets", "plugins"]), required=False
)
@json_option
@plugin_option
def list_offers(what: str | None, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List encoders, tasks, datasets or plugins."""
    from omnibench import listing

    registry = registry_of(tuple(plugins))
    shown = [what] if what else ["encoders", "tasks", "datasets", "plugins"]
    tables = {name: listing.TABLES[name](registry) for name in shown}
    if as_json:
        click.echo(json.dumps(tables, indent=1))
        return
    for name, rows in tables.items():
        columns = list(rows[0]) if rows else [name]
        console.print_table(columns, [list(row.values()) for row in rows], title=name)
    console.print_lines(registry.not_loaded())
    if click.get_current_context().obj["traceback"]:
        console.print_lines([broken.trace for broken in registry.broken])
