"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from omnibench.errors import UsageError

if TYPE_CHECKING:
    from omnibench.cells import RunRequest
    from omnibench.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def registry_of(files: tuple[Path, ...] = ()) -> Registry:
    """Return all that built-in and installed plugins offer, and those given as files."""
    from omnibench.registry import Registry

    return Registry.discover(files)


def plugin_option(command: F) -> F:
    """Add `--plugin`."""
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A Python file that is a plugin, without packaging; repeatable",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")(
        command
    )


def user_cache() -> Path:
    """Return the cache folder that is used where none is named."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("omnibench"))


def folders_of(data_root: Path | None, cache: Path | None) -> tuple[Path, Path]:
    """Return data root and cache, where the user named none those of the environment or user."""
    chosen = cache or user_cache()
    return Path(data_root or os.environ.get("OMNIBENCH_DATA") or chosen / "data"), chosen


def names_of(kind: str) -> Callable[..., list[str]]:
    """Complete names of `encoders`, `tasks` or `datasets` on the shell."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        offers = getattr(registry_of(), kind)
        return sorted(o.card.name for o in offers if o.card.name.startswith(incomplete))

    return complete


def settings_of(texts: Iterable[str]) -> dict[str, str]:
    """Return what `--set` options say, by field.

    Raises:
        UsageError: If one is malformed or given twice.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write --set field=value")
        if name.strip() in settings:
            raise UsageError(f"--set {name.strip()} is given twice")
        settings[name.strip()] = value.strip()
    return settings


def request_of(**options: Any) -> RunRequest:
    """Turn what was typed into a request.

    Raises:
        UsageError: If options exclude each other or `--set` is malformed.
    """
    from omnibench.cells import CACHE_LIMIT, RunRequest

    seeds, seed = options.pop("seeds"), options.pop("seed")
    if seeds is not None and seed:
        raise UsageError("--seeds N and --seed K exclude each other")
    settings = settings_of(options.pop("settings"))
    root, cache = folders_of(options.pop("data_root"), options.pop("cache"))
    limit = options.pop("cache_limit")
    return RunRequest(
        **options,
        settings=settings,
        seeds=tuple(dict.fromkeys(seed)) or (tuple(range(seeds)) if seeds else None),
        cache=cache,
        cache_limit=CACHE_LIMIT if limit is None else limit,
        data_root=root,
    )
