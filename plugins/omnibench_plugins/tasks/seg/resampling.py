"""Bilinear resizing as matrices, so that it can change places with other linear maps.

Resizing [.., h, w] to [.., H, W] is A x B^T with A [H, h] and B [W, w]. What follows it linearly
can then be computed on the small map: the same sums in another order, so that results differ by
rounding only (the tests hold them to the written-out form).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.layers import resize

Size = Sequence[int]


@functools.lru_cache(maxsize=256)
def resize_matrix(source: int, target: int, device: torch.device) -> Tensor:
    """Return A [target, source] of `layers.resize` along one side, float32; do not write to it.

    Made outside inference mode: what evaluation asks for first, training may need later.
    """
    with torch.inference_mode(False):
        return resize(torch.eye(source, device=device)[None, :, :, None], (target, 1))[0, :, :, 0].T


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows x columns^T [.., H, W] of maps x [.., h, w], rows [H, h] and columns [W, w]."""
    return rows @ (x @ columns.T)


def conv_of_resized(x: Tensor, weight: Tensor, size: Size) -> Tensor:
    """Return a 3x3 convolution, padded by 1, of maps resized to `size`.

    Channels are mixed on the small map, once for each of the nine positions of the kernel; what is
    left is to resize, shift and add, one side after the other.

    Args:
        x: Maps [B, I, h, w].
        weight: [O, I, 3, 3].
        size: (H, W).

    Returns:
        [B, O, H, W]; in mixed precision, float32.
    """
    batch, _, height, width = x.shape
    outputs = len(weight)
    mixed = F.conv2d(x, weight.permute(0, 2, 3, 1).reshape(9 * outputs, -1, 1, 1))
    with torch.autocast(x.device.type, enabled=False):
        # [B, O, row of the kernel, column of the kernel, h, w] -> columns side by side
        parts = mixed.float().view(batch, outputs, 3, 3, height, width).transpose(3, 4)
        wide = parts.reshape(batch, outputs, 3 * height, 3 * width)
        return separable(
            wide, _shifted(height, size[0], x.device), _shifted(width, size[1], x.device)
        )


@functools.lru_cache(maxsize=64)
def _shifted(source: int, target: int, device: torch.device) -> Tensor:
    """Return [target, 3 source]: resizing as a kernel's first, second and third position sees it."""
    with torch.inference_mode(False):
        plain = F.pad(resize_matrix(source, target, device), (0, 0, 1, 1))
        return torch.cat([plain[start : start + target] for start in range(3)], dim=1)
