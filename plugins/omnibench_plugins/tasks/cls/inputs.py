"""How images become logits: encoded anew in every epoch, or once where nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from omnibench.cards import SPLITS
from omnibench.features.frozen import FrozenFeatures
from omnibench.features.rows import images_per_second
from omnibench.forward import Images, in_chunks
from omnibench.interfaces import Dataset, RunContext
from omnibench.loading import as_images
from omnibench_plugins.tasks.cls import augment
from omnibench_plugins.tasks.cls.classifier import Classifier, HeadOnly
from omnibench_plugins.tasks.cls.recipe import ClsRecipe


class Inputs(Protocol):
    """Two ways to the same logits."""

    images_per_second: float | None  # of the latest prediction, encoder included

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of the training samples `index` [b], in training mode."""

    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a whole split, on the CPU, in full precision."""


class TunedEncoder:
    """Encodes images anew in every epoch."""

    def __init__(
        self,
        model: Classifier,
        images: Mapping[str, Images],
        augmentation: str,
        context: RunContext,
    ) -> None:
        self.model, self.images = model, images
        self.augmentation, self.context = augmentation, context
        self.images_per_second: float | None = None

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of training images."""
        batch = self.images["train"][index]
        logits: Tensor = self.model(augmented(batch, self.augmentation, draws, self.context.device))
        return logits

    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a split."""
        found, self.images_per_second = in_chunks(
            self.model, self.images[split], self.context, f"predicting {split}"
        )
        return found


class FrozenEncoder:
    """Encodes what is the same in every epoch once: all images but augmented ones.

    Without augmentation an epoch costs one linear layer, and the encoder is built only if its
    features are not in the store.

    Args:
        model: The head, on the context's device.
        features: Readings `POOLED` of the encoder.
        dataset: Source.
        recipe: Pooling and augmentation.
        context: Device and progress.
    """

    def __init__(
        self,
        model: HeadOnly,
        features: FrozenFeatures,
        dataset: Dataset,
        recipe: ClsRecipe,
        context: RunContext,
    ) -> None:
        self.model, self.features, self.recipe, self.context = model, features, recipe, context
        self.pooled: dict[str, Tensor] = {}
        self.augmented = recipe.augmentation != "none"
        for split in SPLITS[1:] if self.augmented else SPLITS:
            rows = features.of(dataset, split, context.progress)
            self.pooled[split] = rows.read(torch.arange(len(rows)))[recipe.pool]
            self.images_per_second = images_per_second(rows)
        if self.augmented:
            self.images = features.images(dataset, "train", context.progress)

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of training features, or of augmented images."""
        if not self.augmented:
            return self._head(self.pooled["train"][index])
        batch, device = self.images[index], self.context.device
        with torch.no_grad():
            read = self.features.reading.read(
                self.features.encoder, augmented(batch, self.recipe.augmentation, draws, device)
            )
        return self._head(read[self.recipe.pool])

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a split."""
        return self._head(self.pooled[split]).float().cpu()

    def _head(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.model(pooled.to(self.context.device))
        return logits


def augmented(batch: Tensor, how: str, draws: torch.Generator, device: str) -> Tensor:
    """Return float RGB [b, 3, S, S] on a device, of images [b, C, S, S] as they were decoded."""
    if how == "none":
        return as_images(batch, device)
    drawn = augment.draw(len(batch), batch.shape[-1], draws)
    if how == "released":
        return as_images(augment.released(batch, drawn), device)
    # Resampled where the encoder computes, and before grey is expanded to three channels.
    images = augment.affine(batch.to(device, non_blocking=True), drawn)
    return images.expand(-1, 3, -1, -1)
