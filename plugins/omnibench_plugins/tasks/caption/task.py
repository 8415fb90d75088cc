"""The task `caption`: a text an image, from a language model on a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omnibench.cards import DatasetSpec, EncoderSpec, HubFile, LocalFiles, Precision
from omnibench.interfaces import Dataset, Metric, Outcome, Part, RunContext
from omnibench_plugins.tasks.caption.model_files import POSITIONS, files_of, too_long
from omnibench_plugins.tasks.caption.recipe import RECIPES, CaptionRecipe
from omnibench_plugins.tasks.checks import misfit, other_kind

if TYPE_CHECKING:
    import numpy as np

    from omnibench.handle import EncoderHandle


class Captioning:
    """Captioning as in OmniRad, Sec. 3.4 and 4.5."""

    name = "caption"
    version = 1
    summary = "a text an image: patch merger and BART on a frozen encoder"
    recipes = tuple(RECIPES)
    tunings: tuple[str, ...] = ()

    def recipe(self, name: str, tuning: str | None = None) -> CaptionRecipe:
        """Return the named recipe."""
        return RECIPES[name]

    def assets(self, recipe: CaptionRecipe) -> Mapping[str, HubFile | LocalFiles]:
        """Return the language model's files; none if it is trained from scratch."""
        files = files_of(recipe.language_model)
        return {} if files is None else {"language_model": files}

    def accepts(
        self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: CaptionRecipe
    ) -> str | None:
        """Return why the combination makes no sense, or None."""
        if reason := other_kind(dataset, "captions"):
            return reason
        if encoder.end_to_end:
            return (
                f"{encoder.name!r} is trained from end to end and has no tokens to caption; use an "
                "encoder (`omnibench list encoders`)"
            )
        if reason := too_long(recipe.merger_tokens, recipe.longest_text, POSITIONS):
            return reason
        step = encoder.patch_size
        return misfit(recipe.image_size, step, f"{step}, which {encoder.name!r} needs")

    def stochastic(self, recipe: CaptionRecipe) -> bool:
        """Runs differ in the merger's beginning, data order and dropout."""
        return True

    def precision(self, asked: Precision, recipe: CaptionRecipe) -> Precision:
        """Return the precision asked for: training and decoding use it."""
        return asked

    def variants(self, recipe: CaptionRecipe) -> tuple[str, ...]:
        """Return one variant a decoding, all of one trained model."""
        return recipe.decodings

    def headline(self, recipe: CaptionRecipe) -> str:
        """Return corpus BLEU."""
        return "bleu"

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: CaptionRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        """Train on one seed; yield one outcome a decoding."""
        from omnibench_plugins.tasks.caption.run import run

        yield from run(handle, dataset, recipe, context)

    def parts(
        self, handle: EncoderHandle, recipe: CaptionRecipe, context: RunContext
    ) -> list[Part]:
        """Return what a run is made of, for `omnibench bench`."""
        from omnibench_plugins.tasks.caption.parts import parts

        return parts(handle, recipe, context)

    def score(
        self, predictions: Mapping[str, np.ndarray[Any, Any]], split: str = "test"
    ) -> Sequence[Metric]:
        """Compute every metric from stored texts; only the headline's decoding has `val`."""
        from omnibench.metrics import captioning

        if split != "test" and f"{split}_captions" not in predictions:
            return []
        return captioning.metrics(predictions, split)

    def draw(
        self, dataset: Dataset, predictions: Mapping[str, np.ndarray[Any, Any]], title: str
    ) -> bytes | None:
        """Return a sheet of test images, each with its reference and its caption."""
        from omnibench_plugins.tasks.caption.sheet import sheet_png

        return sheet_png(dataset, predictions, title)
