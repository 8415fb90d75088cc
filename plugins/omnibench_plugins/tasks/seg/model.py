"""The whole: a frozen encoder, spatial prior, fusion, hybrid encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from omnibench.encoder import Encoder
from omnibench_plugins.tasks.seg.decoder import Decoder
from omnibench_plugins.tasks.seg.fusion import Fusion
from omnibench_plugins.tasks.seg.hybrid import BASE, SMALL, HybridEncoder
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.prior import SpatialPrior
from omnibench_plugins.tasks.seg.recipe import SegRecipe
from omnibench_plugins.tasks.seg.released import released_taps

SCALES = 3
Item = TypeVar("Item")


class SegmentationModel(nn.Module):
    """OmniRad's dense adapter (Sec. 3.3) on a frozen encoder of any width.

    Encoders narrower than 768 get the small modules (D = 384), others the base ones (D = 768).

    Args:
        encoder: Configured; frozen here.
        classes: Number of classes C.
        recipe: Extractor, feed-forward width, and what is trained.
    """

    def __init__(self, encoder: Encoder, classes: int, recipe: SegRecipe) -> None:
        super().__init__()
        self.encoder = encoder.freeze()
        self.extractor = recipe.extractor
        self.loss_resolution = recipe.loss_resolution
        self.layers = tapped(encoder)
        width = SMALL if encoder.embed_dim < BASE.dim else BASE
        self.prior = SpatialPrior()
        self.hybrid = HybridEncoder(width, recipe.ffn_dim or 4 * width.dim)
        self.decoder = Decoder(width.dim, classes)
        # drawn last: encoders of different widths begin with the same modules above
        self.fusion = Fusion(three([encoder.layer_channels[i] for i in self.layers]), width.dim)
        self.trains_fusion = recipe.train_prior_and_fusion
        for module in (self.prior, self.fusion):
            module.requires_grad_(self.trains_fusion)

    def taps(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's maps of images [B, 3, S, S] in [0, 1], earliest block first."""
        return read_taps(self.encoder, images, self.extractor)

    def forward(self, images: Tensor, taps: Sequence[Tensor] | None = None) -> Tensor:
        """Return logits [B, C, S, S] of images [B, 3, S, S] in [0, 1].

        Args:
            images: Float RGB.
            taps: What `taps` says about these images, where it is already known.
        """
        maps = self.taps(images) if taps is None else taps
        # unstated; the paper's decoder ends at 1/8, the released code scores at full size
        return resize(self.eighth(images, maps), images.shape[-2:])

    def loss_logits(self, images: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, C, h, w] on the grid of the loss, S or S/8 a side."""
        if self.loss_resolution == "eighth":
            return self.eighth(images, taps)
        logits: Tensor = self(images, taps)
        return logits

    def eighth(self, images: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, C, S/8, S/8], rounded up, as the decoder gives them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_fusion):
            fused = self.fusion(three(taps), self.prior(self.encoder.prepare(images)))
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


def tapped(encoder: Encoder) -> tuple[int, ...]:
    """Return the blocks that are read, earliest first."""
    return encoder.dense_layers[-SCALES:]


@torch.no_grad()
def read_taps(
    encoder: Encoder, images: Tensor, extractor: Literal["timm", "released"]
) -> list[Tensor]:
    """Return an encoder's maps of images [B, 3, S, S] in [0, 1], earliest block first.

    Raises:
        UsageError: If the size does not fit, or the extractor cannot read this encoder.
    """
    if extractor == "released":
        return released_taps(encoder, images, tapped(encoder))
    return encoder.intermediates(images, tapped(encoder))


def three(items: Sequence[Item]) -> list[Item]:
    """Return one item a scale; encoders of one or two blocks repeat their last."""
    return [items[min(scale, len(items) - 1)] for scale in range(SCALES)]
