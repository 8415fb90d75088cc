"""From names to cells: every mistake that can be found without torch is found here."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnibench import assets, weights
from omnibench.cards import NAME, Asset, DataAccess, DatasetSpec, EncoderSpec, HubFile, LocalFiles
from omnibench.cells import Cell, RunRequest
from omnibench.errors import UsageError, suggestion
from omnibench.features.cache import GIGABYTE, FeatureStore
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, NeedsAssets, Progress, Task
from omnibench.offers import Offer
from omnibench.recipe import as_document, override, without_idle
from omnibench.registry import Registry
from omnibench.store import Store
from omnibench.subset import Subset

log = logging.getLogger(__name__)


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
