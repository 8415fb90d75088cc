"""The task `seg`: one class a pixel, from modules trained on a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omnibench.cards import DatasetSpec, EncoderSpec, Precision
from omnibench.errors import IntegrityError
from omnibench.interfaces import Dataset, Metric, Outcome, Part, RunContext
from omnibench_plugins.tasks.checks import misfit, other_kind
from omnibench_plugins.tasks.seg.recipe import ADAPTER_FIELDS, MEDSEGBENCH, RECIPES, SegRecipe

if TYPE_CHECKING:
    import numpy as np

    from omnibench.handle import EncoderHandle

END_TO_END_STRIDE = 32  # pixels; of the deepest map of a U-Net


class Segmentation:
    """Segmentation as in OmniRad, Sec. 3.3 and 4.4."""

    name = "seg"
    version = 2
    summary = "one class a pixel: hybrid encoder and decoder on a frozen encoder"
    recipes = tuple(RECIPES)
    tunings: tuple[str, ...] = ()

    def recipe(self, name: str, tuning: str | None = None) -> SegRecipe:
        """Return the named recipe."""
        return RECIPES[name]

    def accepts(self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: SegRecipe) -> str | None:
        """Return why the combination makes no sense, or None."""
        if reason := other_kind(dataset, "masks"):
            return reason
        if encoder.end_to_end and recipe.model != "end_to_end":
            return f"{encoder.name!r} is trained from end to end; use --recipe medsegbench"
        if recipe.model == "end_to_end" and not encoder.end_to_end:
            return (
                f"{encoder.name!r} is an encoder, and this recipe trains whole networks; use "
                "--recipe paper, or an end-to-end network such as unet-resnet18"
            )
        if encoder.end_to_end:
            for name in ADAPTER_FIELDS:
                if getattr(recipe, name) != getattr(MEDSEGBENCH, name):
                    return (
                        f"{name}={getattr(recipe, name)} has no effect on the whole network "
                        f"{encoder.name!r}; use --recipe medsegbench without --set {name}"
                    )
        step = END_TO_END_STRIDE if encoder.end_to_end else encoder.patch_size
        return misfit(recipe.image_size, step, f"{step}, which {encoder.name!r} needs")

    def stochastic(self, recipe: SegRecipe) -> bool:
        """Runs differ in the modules' beginning and in data order."""
        return True

    def precision(self, asked: Precision, recipe: SegRecipe) -> Precision:
        """Return the precision asked for: training and predictions use it."""
        return asked

    def variants(self, recipe: SegRecipe) -> tuple[str, ...]:
        """Return the one variant."""
        return ("",)

    def headline(self, recipe: SegRecipe) -> str:
        """Return mean IoU over the pooled split, on the recipe's grid."""
        return f"miou_dataset@{recipe.image_size}"

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: SegRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        """Train on one seed; yields one outcome."""
        from omnibench_plugins.tasks.seg.run import run

        yield run(handle, dataset, recipe, context)

    def parts(self, handle: EncoderHandle, recipe: SegRecipe, context: RunContext) -> list[Part]:
        """Return what a run is made of, for `omnibench bench`."""
        from omnibench_plugins.tasks.seg.parts import parts, whole_network

        return (whole_network if recipe.model == "end_to_end" else parts)(handle, recipe, context)

    def score(
        self, predictions: Mapping[str, np.ndarray[Any, Any]], split: str = "test"
    ) -> Sequence[Metric]:
        """Compute every metric of every grid from counts [N, C, 4].

        Raises:
            IntegrityError: If there are no counts, or they contradict each other.
        """
        from omnibench.metrics.segmentation import metrics_from_counts

        prefix = f"{split}_counts@"
        grids = sorted(name.removeprefix(prefix) for name in predictions if name.startswith(prefix))
        if not grids:
            raise IntegrityError(f"predictions hold no {prefix}…; run the cell again")
        return [m for grid in grids for m in metrics_from_counts(predictions[prefix + grid], grid)]

    def draw(
        self, dataset: Dataset, predictions: Mapping[str, np.ndarray[Any, Any]], title: str
    ) -> bytes | None:
        """Return a sheet of test images with what was right, too much and missed."""
        from omnibench_plugins.tasks.seg.sheet import sheet_png

        return sheet_png(dataset, predictions, title)
