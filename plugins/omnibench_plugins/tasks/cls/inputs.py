"""How images become logits: encoded anew in every epoch, or once where nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from omnibench.forward import in_chunks
from omnibench.interfaces import RunContext
from omnibench.loading import as_images
from omnibench_plugins.tasks.cls import augment
from omnibench_plugins.tasks.cls.classifier import Classifier
from omnibench_plugins.tasks.cls.recipe import ClsRecipe
from omnibench_plugins.tasks.cls.samples import Samples


class Inputs(Protocol):
    """Two ways to the same logits."""

    images_per_second: float  # of the latest prediction, encoder included

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of the training samples `index` [b], in training mode."""

    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a whole split, on the CPU, in full precision."""


def inputs_for(
    model: Classifier, data: Mapping[str, Samples], recipe: ClsRecipe, context: RunContext
) -> Inputs:
    """Choose how the tuning reaches its logits."""
    kind = FrozenEncoder if recipe.tuning == "head" else Images
    return kind(model, data, recipe.augmentation, context)


class Images:
    """Encodes images anew in every epoch."""

    def __init__(
        self,
        model: Classifier,
        data: Mapping[str, Samples],
        augmentation: str,
        context: RunContext,
    ) -> None:
        self.model = model
        self.data = data
        self.augmentation = augmentation
        self.context = context
        self.images_per_second = 0.0

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of augmented training images."""
        logits: Tensor = self.model(self._augmented(self.data["train"].images[index], draws))
        return logits

    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a split."""
        found, self.images_per_second = in_chunks(
            self.model, self.data[split].images, self.context, f"predicting {split}"
        )
        return found

    def _augmented(self, batch: Tensor, draws: torch.Generator) -> Tensor:
        """Return float RGB [b, 3, S, S] on the device of the run."""
        if self.augmentation == "none":
            return as_images(batch, self.context.device)
        drawn = augment.draw(len(batch), batch.shape[-1], draws)
        if self.augmentation == "released":
            return as_images(augment.released(batch, drawn), self.context.device)
        # Resampled where the encoder computes, and before grey is expanded to three channels.
        images = augment.affine(batch.to(self.context.device, non_blocking=True), drawn)
        return images.expand(-1, 3, -1, -1)


class FrozenEncoder(Images):
    """Encodes what is the same in every epoch once: all images but augmented ones.

    Without augmentation an epoch costs one linear layer.
    """

    def __init__(
        self,
        model: Classifier,
        data: Mapping[str, Samples],
        augmentation: str,
        context: RunContext,
    ) -> None:
        super().__init__(model, data, augmentation, context)
        self.pooled: dict[str, Tensor] = {}
        for split in ("train", "val", "test") if augmentation == "none" else ("val", "test"):
            self.pooled[split], self.images_per_second = in_chunks(
                lambda images: model.encoder(images).pooled,
                data[split].images,
                context,
                f"encoding {split}",
            )

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of training features, or of augmented images."""
        if "train" in self.pooled:
            return self._head(self.pooled["train"][index])
        return super().training_logits(index, draws)

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a split."""
        return self._head(self.pooled[split]).float().cpu()

    def _head(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.model.head(pooled.to(self.context.device))
        return logits
