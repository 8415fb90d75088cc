"""Decoder: two up-sampling blocks and a classifier (OmniRad, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omnibench_plugins.tasks.seg.layers import conv_norm, resize


class Decoder(nn.Module):
    """U_16 = psi(Up(F_32) + F_16), U_8 = psi(Up(U_16) + F_8), + being concatenation.

    Args:
        dim: D.
        classes: Number of classes C.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        # unstated: the released code projects each scale first, inside the printed 14.27 M
        self.projections = nn.ModuleList(nn.Conv2d(dim, dim, 1, bias=False) for _ in range(3))
        self.to_16 = _psi(dim)
        self.to_8 = _psi(dim)
        self.classifier = nn.Conv2d(dim, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map F_8, F_16, F_32 [B, D, h, w] to logits [B, C, H/8, W/8]."""
        f8, f16, f32 = (p(m) for p, m in zip(self.projections, maps, strict=True))
        u16 = self.to_16(torch.cat([resize(f32, f16.shape[-2:]), f16], dim=1))
        u8 = self.to_8(torch.cat([resize(u16, f8.shape[-2:]), f8], dim=1))
        logits: Tensor = self.classifier(u8)
        return logits


def _psi(dim: int) -> nn.Module:
    """Two 3x3 convolutions 2D -> D -> D, each with batch norm and ReLU."""
    return nn.Sequential(
        conv_norm(2 * dim, dim, 3),
        nn.ReLU(inplace=True),
        conv_norm(dim, dim, 3),
        nn.ReLU(inplace=True),
    )
