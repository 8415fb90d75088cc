"""From sample indices to logits, computing frozen maps once where memory allows."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from omnibench.forward import CHUNK, chunks
from omnibench.interfaces import SPLITS, RunContext
from omnibench.loading import as_images
from omnibench.training import autocast
from omnibench_plugins.tasks.seg.model import SegmentationModel, WholeNetwork
from omnibench_plugins.tasks.seg.samples import Data

KEEP_BYTES = 4 * 2**30  # of maps kept in memory, training images first


class Inputs(Protocol):
    """What training and evaluation need from a model."""

    def logits(self, split: str, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S] of the samples of a split at the given indices [b]."""

    def training_logits(self, index: Tensor) -> Tensor:
        """Return logits [b, C, h, w] of training samples, on the grid of the loss."""


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


class FrozenInputs:
    """Inputs of modules on a frozen encoder, which sees each image once where that fits.

    Args:
        model: On the context's device.
        data: All splits.
        context: Device, precision, progress.
        keep_bytes: How much memory may hold the maps of training and validation images; those
            of a split that does not fit are computed again each time.
    """

    def __init__(
        self,
        model: SegmentationModel,
        data: Data,
        context: RunContext,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.model, self.data, self.context = model, data, context
        self.kept: dict[str, list[Tensor]] = {}
        for split in SPLITS[:-1]:  # test images are seen once anyway
            first = self._taps(split, torch.arange(min(CHUNK, len(data.splits[split]))))
            needed = len(data.splits[split]) * sum(tap[0].nbytes for tap in first)
            if needed <= keep_bytes:
                keep_bytes -= needed
                self.kept[split] = self._all_taps(split, first)

    def logits(self, split: str, index: Tensor) -> Tensor:
        """Return logits [b, C, S, S]."""
        logits: Tensor = self.model(*self._read(split, index))
        return logits

    def training_logits(self, index: Tensor) -> Tensor:
        """Return logits [b, C, h, w]."""
        return self.model.loss_logits(*self._read("train", index))

    def _read(self, split: str, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return images [b, 3, S, S] and their taps, on the device of the run."""
        images = as_images(self.data.splits[split].images[index], self.context.device)
        if split in self.kept:
            return images, [tap[index].to(self.context.device) for tap in self.kept[split]]
        return images, self._taps(split, index)

    def _all_taps(self, split: str, first: list[Tensor]) -> list[Tensor]:
        """Return the taps of a whole split, in main memory, given those of the first chunk."""
        count = len(self.data.splits[split])
        kept = [torch.empty((count, *tap.shape[1:]), dtype=tap.dtype) for tap in first]
        self.context.progress.start(f"encoding {split} images", count)
        for start in range(0, count, CHUNK):
            index = torch.arange(start, min(start + CHUNK, count))
            taps = first if start == 0 else self._taps(split, index)
            for place, tap in zip(kept, taps, strict=True):
                place[index] = tap.cpu()
            self.context.progress.advance(len(index))
        return kept

    @torch.no_grad()
    def _taps(self, split: str, index: Tensor) -> list[Tensor]:
        """Compute the taps of the given samples, chunk by chunk."""
        found = []
        for part, filled in chunks(index):
            images = as_images(self.data.splits[split].images[filled], self.context.device)
            with autocast(self.context):
                found.append([tap[: len(part)] for tap in self.model.taps(images)])
        return [torch.cat(parts) for parts in zip(*found, strict=True)]
