"""From names to cells: every mistake that can be found without torch is found here."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnibench import assets, weights
from omnibench.cards import NAME, Asset, DataAccess, DatasetSpec, EncoderSpec, HubFile, LocalFiles
from omnibench.errors import UsageError, suggestion
from omnibench.features.cache import GIGABYTE, FeatureStore
from omnibench.handle import EncoderHandle, Storage
from omnibench.interfaces import Dataset, NeedsAssets, Progress, RunContext, Task
from omnibench.recipe import as_document, digest, override, without_idle
from omnibench.records import SCHEMA
from omnibench.registry import Offer, Registry
from omnibench.store import Store
from omnibench.subset import Subset

log = logging.getLogger(__name__)

CACHE_LIMIT = 100.0  # GB; the eight segmentation sets of the paper take 88 for a small encoder


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for, as typed."""

    encoders: Sequence[str]
    task: str
    datasets: Sequence[str]
    recipe: str | None = None
    tuning: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    weights: Path | None = None
    random_weights: bool = False
    label: str | None = None
    data_root: Path
    cache: Path
    results: Path
    allow_unverified: bool = False
    offline: bool = False
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    keep_weights: bool = False
    plugins: Sequence[Path] = ()
    no_cache: bool = False
    cache_limit: float = CACHE_LIMIT  # GB of frozen outputs
    cache_precision: Storage = "fp32"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One encoder on one dataset under one recipe: everything that its seeds share."""

    encoder_name: str  # as typed
    dataset_name: str
    handle: EncoderHandle
    encoder: Offer[EncoderSpec]
    task: Offer[Task]
    card: DatasetSpec
    dataset_origin: str
    dataset: Dataset
    recipe_name: str
    recipe: Any
    changes: Mapping[str, str]
    seeds: tuple[int, ...]
    limit: int = 0
    keep_weights: bool = False
    assets: Mapping[str, Asset] = field(default_factory=dict)

    @property
    def protocol(self) -> dict[str, str]:
        """The whole recipe as strings; fields that name files hold the asset's name, no path."""
        return as_document(self.recipe) | {name: a.name for name, a in self.assets.items()}

    @property
    def tuning(self) -> str:
        """The recipe's tuning; `frozen` or `end-to-end` for tasks without a choice."""
        chosen = getattr(self.recipe, "tuning", None)
        return str(chosen) if chosen else "end-to-end" if self.handle.card.end_to_end else "frozen"

    def identity(self, context: RunContext, variant: str) -> dict[str, Any]:
        """Return what was asked: strings and integers only (see `omnibench.records`)."""
        task, plugin = self.task.card, self.encoder.plugin
        # Where no file's digest says what the parameters are, the plugin's version must; of a
        # plugin given as a file it is the file's digest.
        told = self.handle.weights.kind in ("official", "file") and plugin.distribution != "file"
        protocol = self.protocol
        protocol.pop("seeds", None)  # how many are run does not change what one run finds
        # Only where there are any: other runs keep the identity they have always had.
        files = {name: asset.sha256 for name, asset in self.assets.items()}
        storage = self.handle.storage
        return {
            **({"assets": files} if files else {}),
            **({"frozen_outputs": storage} if storage != "fp32" else {}),
            "schema": SCHEMA,
            "encoder": {
                "name": self.handle.card.name,
                "plugin": plugin.distribution,
                "plugin_version": "" if told else plugin.version,
                "weights": self.handle.weights.kind,
                "weights_sha256": self.handle.weights.sha256,
            },
            "dataset": {
                "name": self.dataset.name,
                "plugin": self.dataset_origin,
                "content_sha256": self.dataset.digest,
                "limit": self.limit,
            },
            "task": {
                "name": task.name,
                "plugin": self.task.plugin.distribution,
                "plugin_version": self.task.plugin.version
                if self.task.plugin.distribution == "file"
                else "",
                "version": task.version,
                "recipe": self.recipe_name,
                "variant": variant,
                "protocol_sha256": digest({"task": task.name, "v": task.version, **protocol}),
            },
            "tuning": self.tuning,
            "seed": context.seed,
            "device": context.device.partition(":")[0],
            "precision": context.precision,
        }


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A dataset card (or view) that the task accepts, under a recipe with the user's changes."""

    encoder: Offer[EncoderSpec]
    dataset: Offer[DatasetSpec]
    card: DatasetSpec
    recipe_name: str
    recipe: Any
    changes: dict[str, str]
    options: Mapping[str, str]


def plan(request: RunRequest, registry: Registry, progress: Progress | None = None) -> list[Cell]:
    """Turn names into cells, finding every mistake that can be found without torch.

    Raises:
        UsageError: Unknown names or fields, task and dataset that do not fit.
        SetupError: Folder not writable, weights or data missing.
        IntegrityError: Damaged data.
    """
    _check_exclusive(request)
    task = registry.task(request.task)
    encoders = {name: registry.encoder(name) for name in request.encoders}
    datasets = {name: registry.dataset(name) for name in request.datasets}
    fits = {
        (e, d): _fit(request, task.card, dataset, encoder)
        for d, dataset in datasets.items()
        for e, encoder in encoders.items()
    }
    Store(request.results).require_writable()
    handles = {name: encoder_handle(request, encoder) for name, encoder in encoders.items()}
    needed = _assets(request, task.card, fits)
    opened: dict[tuple[int, int | None], Dataset] = {}
    cells = []
    for (encoder_name, dataset_name), fit in fits.items():
        size = getattr(fit.recipe, "source_size", None) if fit.card.sizes else None
        key = (id(fit.card), size)
        found = needed[encoder_name, dataset_name]
        if key not in opened:
            opened[key] = _open(request, fit, size, progress)
        cells.append(
            Cell(
                encoder_name=encoder_name,
                dataset_name=dataset_name,
                handle=handles[encoder_name],
                encoder=fit.encoder,
                task=task,
                card=fit.card,
                dataset_origin=fit.dataset.plugin.distribution,
                dataset=_limited(opened[key], fit.recipe, request.limit),
                recipe_name=fit.recipe_name,
                recipe=fit.recipe,
                changes=fit.changes | {f: a.name for f, a in found.items() if f in fit.changes},
                seeds=_seeds(request, task.card, fit.recipe),
                limit=request.limit or 0,
                keep_weights=request.keep_weights,
                assets=found,
            )
        )
    return cells


def _check_exclusive(request: RunRequest) -> None:
    if len(request.encoders) > 1 and (request.weights or request.label):
        raise UsageError("--weights and --label go with one --encoder")
    if request.weights and request.random_weights:
        raise UsageError("--weights and --random-weights exclude each other")
    if request.label is not None and request.weights is None:
        raise UsageError("--label names the file given by --weights; without one, drop it")
    if request.label is not None and not NAME.fullmatch(request.label):
        raise UsageError(
            f"--label {request.label!r} is not allowed: use lower-case letters, digits and ._- "
            "(at most 64, beginning with a letter or digit)"
        )
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", request.device):
        raise UsageError(f"--device {request.device!r} is none of auto, cpu, cuda and cuda:N")
    if not 0 < request.cache_limit < math.inf:
        raise UsageError("--cache-limit takes a number of GB above 0; --no-cache keeps nothing")
    if request.limit is not None and request.limit < 2:
        raise UsageError("--limit takes at least 2 images a split")


def _fit(
    request: RunRequest, task: Task, dataset: Offer[DatasetSpec], encoder: Offer[EncoderSpec]
) -> Fit:
    """Resolve the recipe and find a view of the dataset that the task accepts."""
    card = dataset.card
    options = {k: v for k, v in request.settings.items() if k in card.options}
    fields = {k: v for k, v in request.settings.items() if k not in card.options}
    name = request.recipe or _default_recipe(task, card, encoder.card)
    named, recipe = recipe_of(task, name, request.tuning, fields)
    before, after = as_document(named), as_document(recipe)
    reasons = []
    for view in (card, *card.views):
        reason = task.accepts(view, encoder.card, recipe)
        if reason is None:
            _check_size(view, recipe, fields)
            return Fit(
                encoder=encoder,
                dataset=dataset,
                card=view,
                recipe_name=name,
                recipe=recipe,
                changes={k: v for k, v in after.items() if before[k] != v},
                options=options,
            )
        reasons.append(reason)
    raise UsageError(reasons[0])


def recipe_of(
    task: Task, name: str, tuning: str | None, fields: Mapping[str, str]
) -> tuple[Any, Any]:
    """Return a named recipe, and the same with the user's changes.

    Raises:
        UsageError: If the task has no such recipe, tuning or field.
    """
    if name not in task.recipes:
        raise UsageError(
            f"task {task.name!r} has no recipe {name!r}.{suggestion(name, task.recipes)} "
            f"It has: {', '.join(task.recipes)}"
        )
    if "tuning" in fields:
        raise UsageError("the tuning is chosen with --tuning, which also brings its rates")
    if tuning is not None and tuning not in task.tunings:
        offered = ", ".join(task.tunings) or "none: its encoder is always frozen"
        raise UsageError(f"task {task.name!r} has no tuning {tuning!r}; it has {offered}")
    named = task.recipe(name, tuning)
    return named, without_idle(override(named, fields), named)


def _default_recipe(task: Task, card: DatasetSpec, encoder: EncoderSpec) -> str:
    """Return the task's first recipe, or for whole networks the first that takes them."""
    if encoder.end_to_end:
        for name in task.recipes:
            if task.accepts(card, encoder, task.recipe(name)) is None:
                return name
    return task.recipes[0]


def _check_size(card: DatasetSpec, recipe: Any, fields: Mapping[str, str]) -> None:
    size = getattr(recipe, "source_size", None)
    if card.sizes and size is not None and size not in card.sizes:
        raise UsageError(
            f"dataset {card.name!r} is published at {', '.join(map(str, card.sizes))} pixels, "
            f"not {size}; use --set source_size={card.sizes[-1]}"
        )
    if not card.sizes and "source_size" in fields:
        raise UsageError(
            f"dataset {card.name!r} has one native size; drop --set source_size={size}"
        )


def encoder_handle(request: RunRequest, offer: Offer[EncoderSpec]) -> EncoderHandle:
    """Find an encoder's weights and decide how tables name it."""
    card, plugin = offer.card, offer.plugin
    choice = weights.resolve(
        card,
        file=request.weights,
        random=request.random_weights,
        offline=request.offline,
        cache=request.cache,
    )
    suffix = {"file": f"+{choice.sha256[:8]}", "random": "+random"}.get(choice.kind, "")
    label = request.label or card.name + suffix
    limit = int(request.cache_limit * GIGABYTE)
    return EncoderHandle(
        card=card,
        weights=choice,
        label=label,
        origin=f"{plugin.distribution} {plugin.version}",
        store=None if request.no_cache else FeatureStore(request.cache / "features", limit),
        storage=request.cache_precision,
    )


def _assets(
    request: RunRequest, task: Task, fits: Mapping[tuple[str, str], Fit]
) -> dict[tuple[str, str], dict[str, Asset]]:
    """Find the files that the task needs for each cell; the same files are digested once."""
    found: dict[HubFile | LocalFiles, Asset] = {}
    of_cell: dict[tuple[str, str], dict[str, Asset]] = {key: {} for key in fits}
    if not isinstance(task, NeedsAssets):
        return of_cell
    for key, fit in fits.items():
        for name, wanted in task.assets(fit.recipe).items():
            if wanted not in found:
                found[wanted] = assets.resolve(
                    wanted, name, offline=request.offline, cache=request.cache
                )
            of_cell[key][name] = found[wanted]
    return of_cell


def _open(request: RunRequest, fit: Fit, size: int | None, progress: Progress | None) -> Dataset:
    return fit.card.open(
        DataAccess(
            root=request.data_root,
            offline=request.offline,
            allow_unverified=request.allow_unverified,
            source_size=size,
            options=fit.options,
            progress=progress,
            cache=None if request.no_cache else request.cache,
        )
    )


def _limited(dataset: Dataset, recipe: Any, limit: int | None) -> Dataset:
    """Apply the recipe's `max_images` and `--limit`, whichever is smaller."""
    allowed = getattr(recipe, "max_images", None)
    if limit is not None:
        allowed = tuple(min(limit, n) for n in allowed) if allowed else (limit,) * 3
    return Subset(dataset, tuple(allowed)) if allowed else dataset


def _seeds(request: RunRequest, task: Task, recipe: Any) -> tuple[int, ...]:
    if task.stochastic(recipe):
        return tuple(request.seeds) if request.seeds else tuple(range(recipe.seeds))
    if request.seeds:
        log.info("task %r draws nothing: one run, whatever seeds are asked for", task.name)
    return (0,)
