"""From sample indices to logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from omnibench.features.rows import Rows
from omnibench.interfaces import RunContext
from omnibench.loading import as_images
from omnibench_plugins.tasks.seg.model import SegmentationModel, WholeNetwork
from omnibench_plugins.tasks.seg.samples import Data


class Inputs(Protocol):
    """What training and evaluation need from a model."""

    def logits(self, split: str, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S] of the samples of a split at the given indices [b]."""

    def training_logits(self, index: Tensor) -> Tensor:
        """Return logits [b, C, h, w] of training samples, on the grid of the loss."""

    def encoding_seconds(self, split: str) -> float:
        """Return the seconds that predicting a split took before: encoding its images."""


class WholeInputs:
    """Inputs of a network that is trained from end to end."""

    def __init__(self, model: WholeNetwork, data: Data, context: RunContext) -> None:
        self.model, self.data, self.device = model, data, context.device

    def logits(self, split: str, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S]."""
        images = as_images(self.data.splits[split].images[index], self.device)
        logits: Tensor = self.model(images)
        return logits

    def training_logits(self, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S]."""
        return self.logits("train", index)

    def encoding_seconds(self, split: str) -> float:
        """Return 0: images are seen when they are predicted."""
        return 0.0


class FrozenInputs:
    """Inputs of modules on the maps of a frozen encoder.

    Args:
        model: On the context's device.
        data: All splits.
        taps: The encoder's maps of every split.
        context: Device.
    """

    def __init__(
        self, model: SegmentationModel, data: Data, taps: Mapping[str, Rows], context: RunContext
    ) -> None:
        self.model, self.data, self.taps, self.device = model, data, taps, context.device

    def logits(self, split: str, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S]."""
        logits: Tensor = self.model(*self._read(split, index))
        return logits

    def training_logits(self, index: Tensor) -> Tensor:
        """Return logits [b, C, h, w]."""
        return self.model.loss_logits(*self._read("train", index))

    def encoding_seconds(self, split: str) -> float:
        """Return what computing the kept maps of a split took."""
        return self.taps[split].seconds

    def _read(self, split: str, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return images [b, 3, S, S] and their taps, on the device of the run."""
        images = as_images(self.data.splits[split].images[index], self.device)
        taps = self.taps[split].read(index).values()
        return images, [tap.to(self.device, non_blocking=True) for tap in taps]
