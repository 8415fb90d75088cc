"""Small layers that the segmentation modules share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Return a bias-free convolution, padded to keep the size at stride 1, and batch norm.

    The released code synchronises batch norm between devices; a run is one process here, where
    plain batch norm is the same.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps [B, C, h, w] to `size`: bilinear, no antialias, `align_corners=False`."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
