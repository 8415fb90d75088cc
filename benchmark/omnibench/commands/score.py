"""`omnibench score`: stored predictions in, metrics out, compared with the records."""

from __future__ import annotations

import json
from pathlib import Path

import click

from omnibench import console
from omnibench.commands.options import json_option, plugin_option, registry_of


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@json_option
@plugin_option
def score(results: Path, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """Recompute every metric of RESULTS from stored predictions."""
    from omnibench.rescoring import rescore

    lines = rescore(results, registry_of(tuple(plugins)))
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=1, allow_nan=False))
    else:
        rows = [(x.cell, x.seed, "see below" if x.exit_code else x.verdict) for x in lines]
        console.print_table(("record", "seed", "recomputed from predictions"), rows)
        console.print_lines([f"{line.verdict}" for line in lines if line.exit_code])
    worst = max((line.exit_code for line in lines), default=0)
    if worst:
        raise SystemExit(worst)
