"""The task `cls`: one label an image, encoder tuned in full, by its head or by LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omnibench.cards import DatasetSpec, EncoderSpec, Precision
from omnibench.interfaces import Dataset, Metric, Outcome, Part, RunContext
from omnibench_plugins.tasks.cls.accept import no_lora, refusal
from omnibench_plugins.tasks.cls.recipe import RECIPES, TUNINGS, ClsRecipe, named_recipe

if TYPE_CHECKING:
    import numpy as np

    from omnibench.handle import EncoderHandle


class Labelled:
    """What every task that predicts one label an image does with stored scores."""

    def variants(self, recipe: Any) -> tuple[str, ...]:
        """Return the one unnamed variant."""
        return ("",)

    def score(
        self, predictions: Mapping[str, np.ndarray[Any, Any]], split: str = "test"
    ) -> Sequence[Metric]:
        """Compute every metric from scores [N, C] and labels [N]."""
        from omnibench.metrics.classification import metrics_from_scores

        return metrics_from_scores(predictions[f"{split}_score"], predictions[f"{split}_label"])

    def draw(
        self, dataset: Dataset, predictions: Mapping[str, np.ndarray[Any, Any]], title: str
    ) -> bytes | None:
        """Return the confusion matrix of the test split as a PNG."""
        from omnibench_plugins.tasks.cls.confusion import confusion_png

        return confusion_png(
            predictions["test_score"], predictions["test_label"], dataset.classes, title
        )


class Classification(Labelled):
    """Classification as in OmniRad, Sec. 3.2 and 4.3."""

    name = "cls"
    version = 1
    summary = "one label an image: full fine-tuning, head only, or LoRA"
    recipes = tuple(RECIPES)
    tunings: tuple[str, ...] = TUNINGS

    def recipe(self, name: str, tuning: str | None = None) -> ClsRecipe:
        """Return a recipe under a tuning, `full` unless named."""
        return named_recipe(name, tuning)

    def accepts(self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: ClsRecipe) -> str | None:
        """Return why the combination makes no sense, or None."""
        reason = refusal(dataset, encoder, recipe.image_size)
        if reason is None and recipe.lora_rank and encoder.lora_targets is None:
            return no_lora(f"encoder {encoder.name!r}")
        return reason

    def stochastic(self, recipe: ClsRecipe) -> bool:
        """Runs differ in the head's beginning, data order, augmentation and dropout."""
        return True

    def precision(self, asked: Precision, recipe: ClsRecipe) -> Precision:
        """Return the precision asked for: training uses it, predictions are made in fp32."""
        return asked

    def headline(self, recipe: ClsRecipe) -> str:
        """Return `f1_macro`."""
        return "f1_macro"

    def parts(self, handle: EncoderHandle, recipe: ClsRecipe, context: RunContext) -> list[Part]:
        """Return what a run is made of, for `omnibench bench`."""
        from omnibench_plugins.tasks.cls.parts import parts

        return parts(handle, recipe, context)

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: ClsRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        """Train on one seed; yields one outcome."""
        from omnibench_plugins.tasks.cls.run import run

        yield run(handle, dataset, recipe, context)
