"""Fusion of encoder taps with the spatial prior (OmniRad, Sec. 3.3).

The paper says that both are aligned at strides 8, 16 and 32; how is unstated. The released code
concatenates them on a grid made of the patch grid, projects and normalises there, and resizes the
result. All but the statistics of the norm is linear, and their sums of squares are quadratic forms
of the small maps, so that nothing is ever laid out on the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.prior import PRIOR_CHANNELS
from omnibench_plugins.tasks.seg.resampling import resize_matrix, separable

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
            # A 1x1 convolution of a concatenation is a sum.
            weight = projection.get_parameter("weight")
            for_tap, for_level = weight[:, : tap.shape[1]], weight[:, tap.shape[1] :]
            projected = F.conv2d(tap, for_tap), F.conv2d(level, for_level)
            assert isinstance(norm, nn.BatchNorm2d)
            with torch.autocast(tap.device.type, enabled=False):
                parts = [_OnGrid(part.float(), grid) for part in projected]
                fused.append(_normalised(parts, norm, level.shape[-2:]))
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


class _OnGrid(NamedTuple):
    """Maps [B, D, h, w] as they would be, resized to a grid."""

    maps: Tensor
    grid: torch.Size

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return the resizing of rows [G_h, h] and of columns [G_w, w]."""
        rows, columns = (
            resize_matrix(side, target, self.maps.device)
            for side, target in zip(self.maps.shape[-2:], self.grid, strict=True)
        )
        return rows, columns

    def resized(self, size: torch.Size) -> Tensor:
        """Return the maps resized to the grid and then to `size`."""
        rows, columns = self.matrices()
        to_rows, to_columns = (
            resize_matrix(side, target, self.maps.device)
            for side, target in zip(self.grid, size, strict=True)
        )
        return separable(self.maps, to_rows @ rows, to_columns @ columns)

    def mean(self) -> Tensor:
        """Return the mean [D] over batch and grid."""
        rows, columns = (matrix.mean(dim=0, keepdim=True) for matrix in self.matrices())
        return separable(self.maps, rows, columns).mean(dim=(0, 2, 3))

    def product_mean(self, other: _OnGrid) -> Tensor:
        """Return the mean [D] over batch and grid of this times the other."""
        rows, columns = self.matrices()
        other_rows, other_columns = other.matrices()
        reached = separable(other.maps, rows.T @ other_rows, columns.T @ other_columns)
        return (self.maps * reached).sum(dim=(0, 2, 3)) / (len(self.maps) * self.grid.numel())


def _normalised(parts: Sequence[_OnGrid], norm: nn.BatchNorm2d, size: torch.Size) -> Tensor:
    """Return the batch norm of a sum on its grid, resized to `size`."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        mean, variance = _statistics(parts)
        _remember(norm, mean, variance, len(parts[0].maps) * parts[0].grid.numel())
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    summed = parts[0].resized(size) + parts[1].resized(size)
    return torch.addcmul(shift[:, None, None], summed, scale[:, None, None])


def _statistics(parts: Sequence[_OnGrid]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance [D] of a sum over batch and grid.

    Means are taken off first: resizing keeps constants, and squares of what is left lose nothing to
    the difference of two large numbers.
    """
    means = [part.mean() for part in parts]
    first, second = (
        part._replace(maps=part.maps - mean[:, None, None])
        for part, mean in zip(parts, means, strict=True)
    )
    variance = (
        first.product_mean(first) + 2 * first.product_mean(second) + second.product_mean(second)
    )
    return means[0] + means[1], variance


@torch.no_grad()
def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update running statistics as `torch.nn.BatchNorm2d` does, with the unbiased variance."""
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
