"""The commands this room adds; importing them imports neither pandas nor numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from omnibench import console

if TYPE_CHECKING:
    from omnibench.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

_results = click.argument(
    "results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS…"
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
_plugin = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that is a plugin, without packaging; repeatable",
)


@click.group()
def leaderboard() -> None:
    """Tables, tests and rankings from records."""


@click.command()
@_results
@click.option("--seal", is_flag=True, help="If nothing is wrong, write MANIFEST.json")
@_json
@_plugin
def verify(results: Sequence[Path], seal: bool, as_json: bool, plugins: Sequence[Path]) -> None:
    """Check schema, digests, recomputed metrics and copies of RESULTS.

    Ends with exit code 4 if a record is damaged, was changed, or is not what it says.
    """
    from omnibench_leaderboard import manifest, terminal
    from omnibench_leaderboard.verify import verify as check

    # A new seal replaces the old one, so what the old one lists is no problem.
    verdict = check(results, _registry(plugins), against_manifest=not seal)
    if as_json:
        click.echo(json.dumps(verdict.as_json(), indent=1, allow_nan=False))
    else:
        terminal.print_verdict(verdict)
    if verdict.exit_code:
        raise SystemExit(verdict.exit_code)
    if seal:
        console.print_lines([f"sealed: {manifest.seal(folder)}" for folder in results])


def _registry(plugins: Sequence[Path]) -> Registry:
    from omnibench.registry import Registry

    return Registry.discover(plugins)
