"""Fusion of encoder taps with the spatial prior (OmniRad, Sec. 3.3).

The paper says that both are aligned at strides 8, 16 and 32; how is unstated. The released code
concatenates them on a grid made of the patch grid and resizes the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.prior import PRIOR_CHANNELS

MAGNIFICATION = (4, 2, 1)  # of a plain transformer's patch grid, finest scale first


class Fusion(nn.Module):
    """Concatenate each tap with its prior level, project to D, normalise.

    Args:
        tap_channels: Widths of three taps, finest scale first.
        dim: D.
    """

    def __init__(self, tap_channels: Sequence[int], dim: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Conv2d(tap + prior, dim, 1, bias=False)
            for tap, prior in zip(tap_channels, PRIOR_CHANNELS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in tap_channels)

    def forward(self, taps: Sequence[Tensor], levels: Sequence[Tensor]) -> list[Tensor]:
        """Return maps [B, D, h, w] of the sizes of `levels`.

        Args:
            taps: Encoder maps, finest scale first.
            levels: C_8, C_16 and C_32 of the spatial prior.
        """
        grids = fusion_grids([tap.shape[-2:] for tap in taps])
        fused = []
        for tap, level, grid, projection, norm in zip(
            taps, levels, grids, self.projections, self.norms, strict=True
        ):
            # A 1x1 convolution of a concatenation is a sum, and it commutes with resizing: the
            # products are taken on the small maps. Batch statistics are those of the full grid.
            weight = projection.get_parameter("weight")
            for_tap, for_level = weight[:, : tap.shape[1]], weight[:, tap.shape[1] :]
            joined = resize(F.conv2d(tap, for_tap), grid) + resize(F.conv2d(level, for_level), grid)
            fused.append(resize(norm(joined), level.shape[-2:]))
        return fused


def fusion_grids(sizes: Sequence[Sequence[int]]) -> list[torch.Size]:
    """Return the grids on which taps and prior meet.

    Taps of one size (plain transformers) are magnified 4, 2 and 1 times; taps that already form a
    pyramid (stages of a CNN) keep their own sizes.
    """
    if len({tuple(size) for size in sizes}) > 1:
        return [torch.Size(size) for size in sizes]
    return [
        torch.Size([times * side for side in size])
        for times, size in zip(MAGNIFICATION, sizes, strict=True)
    ]
