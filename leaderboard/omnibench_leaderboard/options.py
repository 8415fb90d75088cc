"""Options that the commands of this room share, and what they all begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from omnibench.registry import Registry
    from omnibench_leaderboard.cache import Cache
    from omnibench_leaderboard.runs import Collection

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that is a plugin, without packaging; repeatable",
)
metric_option = click.option(
    "--metric", metavar="ID", help="Test this metric in place of the task's own headline"
)
confirm_option = click.option(
    "--confirm",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Results of the maintainers' own runs: what agrees with them has evidence level 2",
)
reference_option = click.option(
    "--reference", metavar="NAME", help="Encoder to compare with, named beforehand"
)
results_argument = click.argument(
    "results", nargs=-1, type=click.Path(path_type=Path), metavar="[RESULTS]…"
)
RESULTS = (Path("results"),)


def discovered(plugins: Sequence[Path]) -> Registry:
    """Return everything that is installed, and plugins from files."""
    from omnibench.registry import Registry

    return Registry.discover(plugins)


def answers() -> Cache:
    """Return the cache of what was recomputed, in the user's cache folder."""
    import platformdirs

    from omnibench_leaderboard.cache import Cache

    return Cache(Path(platformdirs.user_cache_dir("omnibench")) / "leaderboard")


def collected(
    results: Sequence[Path], registry: Registry, cache: Cache, confirm: Sequence[Path]
) -> Collection:
    """Return the runs of these results folders, or of the default one, that may enter tables."""
    from omnibench_leaderboard.collect import collect

    return collect(results or RESULTS, registry, cache=cache, confirm=confirm)
