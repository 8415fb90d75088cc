"""`omnibench audit`: what is in a dataset that should not be, as a table, a page and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnibench import console
from omnibench.commands.options import (
    folders_of,
    json_option,
    names_of,
    plugin_option,
    registry_of,
    settings_of,
)
from omnibench.errors import IntegrityError, UsageError, suggestion

if TYPE_CHECKING:
    from omnibench.cards import DatasetSpec


@click.command(
    epilog="clean:NAME is the same dataset without the val and test images found in earlier splits"
)
@click.argument("name", shell_complete=names_of("datasets"))
@click.option("--data-root", type=click.Path(path_type=Path), help="Where datasets lie")
@click.option(
    "--set", "settings", multiple=True, metavar="K=V", help="source_size=N, or a dataset's option"
)
@click.option("--limit", type=click.IntRange(2), metavar="N", help="At most N images a split")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where audit.html and audit.json go; audit/NAME by default",
)
@click.option(
    "--allow-unverified-data",
    "allow_unverified",
    is_flag=True,
    help="Accept files of another digest",
)
@click.option("--cache", type=click.Path(path_type=Path), help="Where thumbnails are kept")
@click.option("--offline", is_flag=True, help="Never touch the network")
@json_option
@plugin_option
def audit(
    name: str,
    data_root: Path | None,
    settings: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    allow_unverified: bool,
    cache: Path | None,
    offline: bool,
    as_json: bool,
    plugins: tuple[Path, ...],
) -> None:
    """Find images of NAME that occur twice, torn groups, odd labels and masks.

    A finding is no error: the exit code is 0, and 4 only where images cannot be read.
    """
    from omnibench.audit import audit as look
    from omnibench.audit import report
    from omnibench.audit.wording import lines
    from omnibench.cards import DataAccess
    from omnibench.clean import KEPT
    from omnibench.features.cache import FeatureStore
    from omnibench.subset import Subset

    card = registry_of(plugins).dataset(name).card
    size, options = _settings(card, settings_of(settings))
    root, cache = folders_of(data_root, cache)
    out = out or Path("audit") / card.name
    report.require_writable(out)
    with console.progress() as progress:
        dataset = card.open(
            DataAccess(
                root=root,
                offline=offline,
                allow_unverified=allow_unverified,
                source_size=size,
                options=options,
                progress=progress,
                cache=cache,
            )
        )
        found = look(
            Subset(dataset, (limit,) * 3) if limit else dataset,
            published=None if limit else card.split_sizes,
            store=FeatureStore(cache / "audit", KEPT),
            progress=progress,
        )
    written = report.write(out, found, dataset, card)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        console.print_table(("looked at", "found"), list(lines(found)), title=found.dataset)
        console.print_lines([f"written: {path}" for path in written])
    if found.damaged:
        raise IntegrityError(
            f"{found.damaged} images of {found.dataset} cannot be used; replace or remove them"
        )


def _settings(card: DatasetSpec, settings: dict[str, str]) -> tuple[int | None, dict[str, str]]:
    """Return the source size, if one is named, and the dataset's own options."""
    known = [*card.options, *(["source_size"] if card.sizes else [])]
    for field in settings:
        if field not in known:
            has = ", ".join(known) or "none"
            raise UsageError(
                f"dataset {card.name!r} has no option {field!r}.{suggestion(field, known)} "
                f"It has: {has}"
            )
    size = settings.pop("source_size", None)
    if size is not None and size not in map(str, card.sizes):
        raise UsageError(
            f"dataset {card.name!r} is published at {', '.join(map(str, card.sizes))} pixels, "
            f"not {size}"
        )
    return None if size is None else int(size), settings
