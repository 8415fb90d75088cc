"""What is trained on a frozen encoder: spatial prior, fusion, hybrid encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from omnibench_plugins.tasks.seg.decoder import Decoder
from omnibench_plugins.tasks.seg.fusion import Fusion
from omnibench_plugins.tasks.seg.hybrid import BASE, SMALL, HybridEncoder
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.prior import SpatialPrior
from omnibench_plugins.tasks.seg.recipe import SegRecipe

SCALES = 3
Item = TypeVar("Item")


class Source(NamedTuple):
    """What the modules must know of the encoder whose maps they get."""

    embed_dim: int
    channels: tuple[int, ...]  # of its taps, earliest block first
    mean: tuple[float, ...]  # of its normalisation, RGB in [0, 1]
    std: tuple[float, ...]


class SegmentationModel(nn.Module):
    """OmniRad's dense adapter (Sec. 3.3) on the maps of a frozen encoder of any width.

    Encoders narrower than 768 get the small modules (D = 384), others the base ones (D = 768).
    The encoder itself is no part of it: its maps may have been computed long ago.

    Args:
        source: The encoder's sizes and normalisation.
        classes: Number of classes C.
        recipe: Feed-forward width, and what is trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: Source, classes: int, recipe: SegRecipe) -> None:
        super().__init__()
        self.loss_resolution = recipe.loss_resolution
        self.register_buffer("mean", torch.tensor(source.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(source.std).view(3, 1, 1), persistent=False)
        width = SMALL if source.embed_dim < BASE.dim else BASE
        self.prior = SpatialPrior()
        self.hybrid = HybridEncoder(width, recipe.ffn_dim or 4 * width.dim)
        self.decoder = Decoder(width.dim, classes)
        # drawn last: encoders of different widths begin with the same modules above
        self.fusion = Fusion(three(source.channels), width.dim)
        self.trains_fusion = recipe.train_prior_and_fusion
        for module in (self.prior, self.fusion):
            module.requires_grad_(self.trains_fusion)

    def forward(self, images: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, C, S, S].

        Args:
            images: Float RGB [B, 3, S, S] in [0, 1].
            taps: The encoder's maps of these images, earliest block first.
        """
        # unstated; the paper's decoder ends at 1/8, the released code scores at full size
        return resize(self.eighth(images, taps), images.shape[-2:])

    def loss_logits(self, images: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, C, h, w] on the grid of the loss, S or S/8 a side."""
        if self.loss_resolution == "eighth":
            return self.eighth(images, taps)
        logits: Tensor = self(images, taps)
        return logits

    def eighth(self, images: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, C, S/8, S/8], rounded up, as the decoder gives them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_fusion):
            fused = self.fusion(three(taps), self.prior((images - self.mean) / self.std))
        logits: Tensor = self.decoder(self.hybrid(fused))
        return logits


class WholeNetwork(nn.Module):
    """An end-to-end network as a segmentation model of C classes.

    Args:
        network: Maps images to logits [B, C, S, S]; with two classes one channel is enough, the
            logit of the foreground (a class is predicted where its sigmoid exceeds 0.5).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, C, S, S] of images [B, 3, S, S] in [0, 1]."""
        logits: Tensor = self.network(images)
        if logits.shape[1] > 1:
            return logits
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


def three(items: Sequence[Item]) -> list[Item]:
    """Return one item a scale; encoders of one or two blocks repeat their last."""
    return [items[min(scale, len(items) - 1)] for scale in range(SCALES)]
