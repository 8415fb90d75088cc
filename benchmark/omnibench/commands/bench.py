"""`omnibench bench`: what encoders, a task and a planned grid cost on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from omnibench import console
from omnibench.commands.options import json_option, plugin_option, registry_of, request_of
from omnibench.errors import UsageError

SIZES = (224, 448)
UNSHOWN = ("schema", "weights_sha256", "environment")  # of a cost record, in tables


@click.command()
@click.option("--encoder", "encoders", multiple=True, required=True, metavar="NAME")
@click.option("--size", "sizes", multiple=True, type=click.IntRange(1), help="Image side")
@click.option("--task", metavar="NAME", help="Also measure the parts of this task's work")
@click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="What a run costs")
@click.option("--recipe", metavar="NAME")
@click.option("--tuning", metavar="NAME")
@click.option("--set", "settings", multiple=True, metavar="K=V")
@click.option("--seeds", type=click.IntRange(1, 1000))
@click.option("--weights", type=click.Path(path_type=Path))
@click.option("--random-weights", is_flag=True, help="Speed does not depend on the weights")
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--allow-unverified-data", "allow_unverified", is_flag=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Whose disk is measured")
@click.option("--offline", is_flag=True)
@click.option("--device", default="auto", metavar="NAME")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto")
@click.option("--limit", type=int, metavar="N")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Repetitions; median shown")
@json_option
@plugin_option
def bench(
    sizes: tuple[int, ...], rounds: int, as_json: bool, task: str | None, **options: Any
) -> None:
    """Measure encoders, the store and a task's parts on this machine; nothing is kept."""
    from omnibench import bench as measure

    if options["datasets"] and not task:
        raise UsageError("--dataset says what a run of a task costs; add --task NAME")
    with tempfile.TemporaryDirectory() as results, console.progress() as progress:
        request = request_of(
            **options, task=task or "", seed=(), cache_limit=None, label=None, results=Path(results)
        )
        found = measure.costs(
            request, registry_of(options["plugins"]), sizes or SIZES, rounds, progress
        )
    if as_json:
        click.echo(json.dumps(found, indent=1, allow_nan=False))
    else:
        _print(found)


def _print(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for title, records in found.items():
        if records:
            columns = [name for name in records[0] if name not in UNSHOWN]
            rows = [[_text(record[name]) for name in columns] for record in records]
            console.print_table(columns, rows, title=title)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
