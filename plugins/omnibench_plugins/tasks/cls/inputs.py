"""What a classifier is trained on: augmented images, or features that never change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from omnibench.interfaces import RunContext
from omnibench.loading import as_images
from omnibench_plugins.tasks.cls import augment
from omnibench_plugins.tasks.cls.classifier import Classifier
from omnibench_plugins.tasks.cls.forward import in_chunks
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
    """Choose: a frozen encoder without augmentation says the same in every epoch."""
    if recipe.tuning == "head" and recipe.augmentation == "none":
        return FixedFeatures(model, data, context)
    return Images(model, data, recipe.augmentation, context)


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


class FixedFeatures:
    """Encodes every split once; afterwards an epoch costs one linear layer."""

    def __init__(self, model: Classifier, data: Mapping[str, Samples], context: RunContext) -> None:
        self.model = model
        self.context = context
        self.images_per_second = 0.0
        self.pooled: dict[str, Tensor] = {}
        for split, samples in data.items():
            self.pooled[split], self.images_per_second = in_chunks(
                lambda images: model.encoder(images).pooled,
                samples.images,
                context,
                f"encoding {split}",
            )

    def training_logits(self, index: Tensor, draws: torch.Generator) -> Tensor:
        """Return logits [b, C] of training features."""
        return self._head(self.pooled["train"][index])

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        """Return logits [N, C] of a split."""
        return self._head(self.pooled[split]).float().cpu()

    def _head(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.model.head(pooled.to(self.context.device))
        return logits
