"""`omnibench check`: does an encoder, a dataset or a task keep its contract?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnibench import console
from omnibench.commands.options import (
    folders_of,
    json_option,
    plugin_option,
    registry_of,
    settings_of,
)
from omnibench.errors import PluginError, UsageError, suggestion

if TYPE_CHECKING:
    from omnibench.conformance import Finding
    from omnibench.registry import Registry

KINDS = ("encoder", "task", "dataset")
# Options that would be without effect.
STRANGE = {
    "encoder": {"settings": "--set", "limit": "--limit"},
    "task": {"sizes": "--size", "limit": "--limit", "weights": "--weights"},
    "dataset": {"weights": "--weights"},
}


@click.command(epilog="Example: omnibench check omnirad-base --random-weights")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Where the name means several things")
@click.option("--weights", type=click.Path(path_type=Path), help="Load the encoder from this file")
@click.option("--random-weights", is_flag=True, help="Draw the encoder's weights at random")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where datasets lie")
@click.option(
    "--allow-unverified-data",
    "allow_unverified",
    is_flag=True,
    help="Accept files of another digest",
)
@click.option("--cache", type=click.Path(path_type=Path))
@click.option("--offline", is_flag=True, help="Never touch the network")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1),
    help="Image side of an encoder, repeatable; source size of a dataset",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Images looked at, a split")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="K=V",
    help="A field of a task's recipe, or an option of a dataset; repeatable",
)
@json_option
@plugin_option
def check(name: str, kind: str | None, as_json: bool, **options: Any) -> None:
    """Check NAME, an encoder, task or dataset, against its contract."""
    registry = registry_of(tuple(options["plugins"]))
    kind = _kind_of(name, kind, registry)
    for option, typed in STRANGE[kind].items():
        if options[option]:
            raise UsageError(f"{typed} has no effect on the {kind} {name!r}; leave it out")
    found = []
    for finding in FINDERS[kind](name, registry, options):
        found.append(finding)
        if not as_json:
            console.print_lines([str(finding)])
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in found], indent=1))
    failed = sum(finding.status == "FAIL" for finding in found)
    if failed:
        raise SystemExit(PluginError.exit_code)


def _kind_of(name: str, kind: str | None, registry: Registry) -> str:
    """Return the kind that a name has, or raise with near names of every kind."""
    if kind is not None:
        return kind
    prefix, colon, _ = name.partition(":")
    known = _prefixes(registry) if colon else _names(registry)
    wanted = prefix if colon else name.rpartition("/")[2]
    kinds = [each for each, names in known.items() if wanted in names]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise UsageError(f"{name!r} is {' and '.join(kinds)}; add --kind {kinds[0]}")
    near = suggestion(wanted, {n for names in known.values() for n in names})
    told = f"there is no encoder, task or dataset {name!r}.{near} `omnibench list` shows all."
    raise UsageError("\n".join([told, *registry.not_loaded()]))


def _names(registry: Registry) -> dict[str, set[str]]:
    return {
        "encoder": {offer.card.name for offer in registry.encoders},
        "task": {offer.card.name for offer in registry.tasks},
        "dataset": {offer.card.name for offer in registry.datasets},
    }


def _prefixes(registry: Registry) -> dict[str, set[str]]:
    return {
        "encoder": {offer.card.prefix for offer in registry.encoder_prefixes},
        "dataset": {
            *(offer.card.prefix for offer in registry.dataset_prefixes),
            *(offer.card.prefix for offer in registry.dataset_variants),
        },
    }


def _encoder(name: str, registry: Registry, options: dict[str, Any]) -> Iterator[Finding]:
    from omnibench import weights
    from omnibench.handle import EncoderHandle

    offer = registry.encoder(name)
    _, cache = folders_of(options["data_root"], options["cache"])
    choice = weights.resolve(
        offer.card,
        file=options["weights"],
        random=options["random_weights"],
        offline=options["offline"],
        cache=cache,
    )
    from omnibench.conformance.encoders import SIZES, check_encoder
    from omnibench.harness import accelerator

    device, _ = accelerator(options["device"], "fp32")
    handle = EncoderHandle(card=offer.card, weights=choice, label=offer.card.name)
    yield from check_encoder(handle, sizes=options["sizes"] or SIZES, device=device)


def _dataset(name: str, registry: Registry, options: dict[str, Any]) -> Iterator[Finding]:
    from omnibench.cards import DataAccess
    from omnibench.conformance.datasets import IMAGES, check_dataset

    card = registry.dataset(name).card
    settings = settings_of(options["settings"])
    strange = [field for field in settings if field not in card.options]
    if strange:
        known = ", ".join(card.options) or "none"
        raise UsageError(f"--set {strange[0]}: dataset {card.name!r} has the options {known}")
    root, cache = folders_of(options["data_root"], options["cache"])
    with console.progress() as progress:
        access = DataAccess(
            root=root,
            offline=options["offline"],
            allow_unverified=options["allow_unverified"],
            source_size=_source_size(card.sizes, options["sizes"]),
            options=settings,
            progress=progress,
            cache=cache,
        )
        for view in (card, *card.views):
            yield from check_dataset(view, access, images=options["limit"] or IMAGES)


def _source_size(published: tuple[int, ...], asked: tuple[int, ...]) -> int | None:
    if len(asked) > 1:
        raise UsageError("--size names one source size of a dataset")
    if asked and asked[0] not in published:
        sizes = ", ".join(map(str, published)) or "its native size only"
        raise UsageError(f"--size {asked[0]}: the dataset is published at {sizes}")
    return asked[0] if asked else max(published, default=None)


def _task(name: str, registry: Registry, options: dict[str, Any]) -> Iterator[Finding]:
    from omnibench.conformance.tasks import check_task, tiny_recipe

    task = registry.task(name).card
    recipe = tiny_recipe(task, settings_of(options["settings"]))
    yield from check_task(task, recipe=recipe, plugins=options["plugins"])


FINDERS = {"encoder": _encoder, "task": _task, "dataset": _dataset}
