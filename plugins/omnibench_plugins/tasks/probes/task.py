"""The tasks `knn` and `linear`: what frozen features say without training the encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omnibench.cards import DatasetSpec, EncoderSpec, Precision
from omnibench.interfaces import Dataset, Outcome, Part, RunContext
from omnibench_plugins.tasks.cls.accept import refusal
from omnibench_plugins.tasks.cls.task import Labelled
from omnibench_plugins.tasks.probes.recipe import (
    KNN,
    LINEAR,
    KnnRecipe,
    LinearRecipe,
    ProbeRecipe,
)

if TYPE_CHECKING:
    import numpy as np

    from omnibench.handle import EncoderHandle
    from omnibench_plugins.tasks.probes.features import Extracted


class _Probe(Labelled):
    """What both probes share."""

    version = 1
    tunings: tuple[str, ...] = ()

    def accepts(
        self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: ProbeRecipe
    ) -> str | None:
        """Return why the combination makes no sense, or None."""
        return refusal(dataset, encoder, recipe.image_size)

    def precision(self, asked: Precision, recipe: ProbeRecipe) -> Precision:
        """Return fp32: features are always made in full precision."""
        return "fp32"

    def stochastic(self, recipe: ProbeRecipe) -> bool:
        """Nothing is drawn: every seed would give the same record."""
        return False

    def parts(self, handle: EncoderHandle, recipe: ProbeRecipe, context: RunContext) -> list[Part]:
        """Return what a run is made of, for `omnibench bench`."""
        from omnibench_plugins.tasks.cls.parts import encoding

        return encoding(handle, recipe.image_size, context)

    def headline(self, recipe: ProbeRecipe) -> str:
        """Return `f1_macro`."""
        return "f1_macro"


class Knn(_Probe):
    """k nearest neighbours by cosine similarity."""

    name = "knn"
    summary = "one label an image from the nearest frozen features, nothing trained"
    recipes = tuple(KNN)

    def recipe(self, name: str, tuning: str | None = None) -> KnnRecipe:
        """Return `fair` or `quick`."""
        return KNN[name]

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: KnnRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        """Extract features and vote; yields one outcome."""
        import torch

        from omnibench_plugins.tasks.probes.features import extract
        from omnibench_plugins.tasks.probes.knn import vote

        found = extract(handle, dataset, recipe, context)
        bank, labels = torch.from_numpy(found.features["train"]), found.samples["train"].labels
        scores = {
            split: vote(
                torch.from_numpy(found.features[split]),
                bank,
                labels,
                classes=len(dataset.classes),
                k=recipe.k,
                temperature=recipe.temperature,
            ).numpy()
            for split in ("val", "test")
        }
        yield _outcome(found, scores, 0, {"neighbours": min(recipe.k, len(bank))})


class Linear(_Probe):
    """Logistic regression."""

    name = "linear"
    summary = "one label an image by logistic regression on frozen features"
    recipes = tuple(LINEAR)

    def recipe(self, name: str, tuning: str | None = None) -> LinearRecipe:
        """Return `fair` or `quick`."""
        return LINEAR[name]

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: LinearRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        """Extract features, choose C on validation, predict; yields one outcome."""
        from omnibench_plugins.tasks.probes.features import extract
        from omnibench_plugins.tasks.probes.linear import choose

        found = extract(handle, dataset, recipe, context)
        train, val = (
            (found.features[split], found.samples[split].labels.numpy())
            for split in ("train", "val")
        )
        classes = len(dataset.classes)
        probe = choose(
            train,
            val,
            classes=classes,
            grid=recipe.grid,
            max_iterations=recipe.max_iterations,
        )
        scores = {split: probe.scores(found.features[split]) for split in ("val", "test")}
        details = {
            "chosen_c": probe.c,
            "chosen_by": probe.criterion,
            "validation": {f"{c:g}": value for c, value in probe.validation.items()},
            "converged": probe.converged,
        }
        width = found.features["train"].shape[1]
        yield _outcome(found, scores, (width + 1) * classes, details)


def _outcome(
    found: Extracted,
    scores: Mapping[str, np.ndarray[Any, Any]],
    trained: int,
    details: Mapping[str, Any],
) -> Outcome:
    from omnibench.metrics.classification import flags_from_scores
    from omnibench_plugins.tasks.cls.samples import prediction_arrays

    predictions = {
        name: array
        for split, values in scores.items()
        for name, array in prediction_arrays(split, found.samples[split], values).items()
    }
    flags = flags_from_scores(scores["test"], found.samples["test"].labels.numpy())
    return Outcome(
        predictions=predictions,
        params_total=found.params + trained,
        params_trainable=trained,
        flops_per_image=found.flops_per_image,
        images_per_second=found.images_per_second,
        details={**details, **flags},
    )
