"""Visual tokens of a frozen encoder, computed once a run where memory allows."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from omnibench.encoder import Encoder, Features
from omnibench.forward import CHUNK, chunks
from omnibench.interfaces import RunContext
from omnibench.loading import as_images
from omnibench.training import autocast
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe

KEEP_BYTES = 4 * 2**30  # of tokens kept in memory; splits are kept in the order they come


class VisualTokens:
    """Tokens of every image, read by split and index.

    Args:
        encoder: Configured and frozen, on the context's device.
        images: Of each split, [N, C, S, S].
        recipe: Which tokens count.
        context: Device, precision, progress.
        keep_bytes: How much memory may hold tokens; those of a split that does not fit are
            computed again each time they are read.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Mapping[str, Tensor],
        recipe: CaptionRecipe,
        context: RunContext,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.encoder, self.images, self.context = encoder, images, context
        self.which = recipe.visual_tokens
        self.kept: dict[str, Tensor] = {}
        self.seconds: dict[str, float] = {}  # that keeping a split took
        for split, pixels in images.items():
            first = self._computed(split, torch.arange(min(CHUNK, len(pixels))))
            needed = len(pixels) * first[0].nbytes
            if needed <= keep_bytes:
                keep_bytes -= needed
                self.kept[split] = self._all(split, first)

    def read(self, split: str, index: Tensor) -> Tensor:
        """Return tokens [b, N, D_v] of images at the given indices [b], on the run's device."""
        if split in self.kept:
            return self.kept[split][index].to(self.context.device)
        return self._computed(split, index)

    def _all(self, split: str, first: Tensor) -> Tensor:
        """Return the tokens of a split [N, T, D_v] in main memory; `first` shows their shape."""
        count = len(self.images[split])
        kept = torch.empty((count, *first.shape[1:]), dtype=first.dtype)
        self.context.progress.start(f"encoding {split} images", count)
        start = time.perf_counter()
        for part in torch.split(torch.arange(count), CHUNK):
            kept[part] = self._computed(split, part).cpu()
            self.context.progress.advance(len(part))
        self.seconds[split] = time.perf_counter() - start
        return kept

    @torch.no_grad()
    def _computed(self, split: str, index: Tensor) -> Tensor:
        """Compute tokens of the given images, in chunks of one size."""
        found = []
        for part, filled in chunks(index):
            pixels = as_images(self.images[split][filled], self.context.device)
            with autocast(self.context):
                found.append(visual_tokens(self.encoder, pixels, self.which)[: len(part)])
        return torch.cat(found)


def visual_tokens(encoder: Encoder, images: Tensor, which: str) -> Tensor:
    """Return patch tokens [B, N, D_v], or all: class token and registers before them.

    Args:
        encoder: Any; a CNN's tokens are the cells of its last map.
        images: Float RGB [B, 3, S, S] in [0, 1].
        which: `patches` or `all`.
    """
    features: Features = encoder(images)
    if which == "patches" or features.prefix is None:
        return features.tokens
    return torch.cat([features.prefix, features.tokens], dim=1)
