"""`omnibench doctor`: what is right and wrong on this machine, and what mends it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from omnibench import console
from omnibench.commands.options import folders_of, json_option, plugin_option, registry_of


@click.command(epilog="Exit code 0 unless something FAILs: then 5, or 3 where it is a plugin alone")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where datasets lie")
@click.option("--cache", type=click.Path(path_type=Path), help="Where frozen outputs lie")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--offline", is_flag=True, help="Never touch the network")
@json_option
@plugin_option
def doctor(
    data_root: Path | None,
    cache: Path | None,
    results: Path,
    offline: bool,
    as_json: bool,
    plugins: tuple[Path, ...],
) -> None:
    """Look at Python, torch, devices, folders, datasets, hub and plugins."""
    from omnibench.doctor.examination import examine
    from omnibench.doctor.findings import Place, exit_code, plain_data

    root, cache = folders_of(data_root, cache)
    place = Place(
        registry=registry_of(tuple(plugins)),
        data_root=root,
        cache=cache,
        results=results,
        offline=offline,
    )
    findings = list(examine(place))
    if as_json:
        click.echo(json.dumps([plain_data(f) for f in findings], indent=1))
    else:
        rows = [(f.topic, f.verdict, f.told, f.remedy) for f in findings]
        console.print_table(("looked at", "verdict", "found", "what mends it"), rows)
    if code := exit_code(findings):
        raise SystemExit(code)
