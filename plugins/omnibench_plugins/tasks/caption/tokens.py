"""Visual tokens of a frozen encoder, each image encoded once."""

from __future__ import annotations

import torch
from torch import Tensor

from omnibench.cards import SPLITS
from omnibench.features.frozen import FrozenFeatures
from omnibench.interfaces import Dataset, RunContext
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe


class VisualTokens:
    """Tokens of every image, read by split and index.

    Args:
        features: Readings `TOKENS` of the encoder.
        dataset: Source.
        recipe: Which tokens count.
        context: Device and progress.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        dataset: Dataset,
        recipe: CaptionRecipe,
        context: RunContext,
    ) -> None:
        self.facts, self.which, self.device = features.facts, recipe.visual_tokens, context.device
        self.rows = {name: features.of(dataset, name, context.progress) for name in SPLITS}

    def read(self, split: str, index: Tensor) -> Tensor:
        """Return tokens [b, N, D_v] of images at the given indices [b], on the run's device.

        All tokens are class token and registers, where there are any, before patches.
        """
        found = self.rows[split].read(index)
        parts = [found["patches"]]
        if self.which == "all" and "prefix" in found:
            parts.insert(0, found["prefix"])
        return torch.cat(parts, dim=1).to(self.device, non_blocking=True)
