"""Two global crops of an image, and none else (OmniRad, Sec. 3.1: local crops are removed).

Crops are cut and resized in 8 bits, and stay uint8 until they reach the model's device, where
`normalised` expands and scales them: a grey batch moves in a twelfth of its float32 RGB size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from omnirad.data.sources import Array

SCALE = (0.32, 1.0)  # share of the area; unstated in the paper: DINOv2's global crops
RATIO = (3 / 4, 4 / 3)  # width by height; unstated: DINOv2's, which are torchvision's
ATTEMPTS = 10
# ImageNet's, in the order R, G, B; what the exported config.json says.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Box(NamedTuple):
    """Part of an image in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
) -> Box:
    """Draw the box of a random resized crop (Szegedy et al., 2015; as torchvision does).

    Area is uniform in `scale`, the ratio of sides log-uniform in `ratio`; if no box fits the
    image, the largest central one of an allowed ratio is taken.
    """
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(height - h + 1))
            left = int(rng.integers(width - w + 1))
            return Box(top, left, h, w)
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def resized(image: Array, box: Box, height: int, width: int) -> Array:
    """Cut a box out of an image and resize it, bicubic and antialiased.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        box: What to cut.
        height: Rows of the result, pixels.
        width: Columns of the result, pixels.

    Returns:
        uint8 [height, width] or [height, width, 3].
    """
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    planes = torch.from_numpy(part)
    planes = planes.permute(2, 0, 1) if part.ndim == 3 else planes[None]
    small = functional.interpolate(
        planes[None], size=(height, width), mode="bicubic", antialias=True
    )[0]
    result: Array = (small.permute(1, 2, 0) if part.ndim == 3 else small[0]).contiguous().numpy()
    return result


def normalised(crops: Tensor) -> Tensor:
    """Return what the encoder takes.

    Args:
        crops: uint8 [B, C, S, S], C = 1 (grey) or 3 (R, G, B).

    Returns:
        float32 [B, 3, S, S] on the same device, ImageNet-normalised.
    """
    mean = torch.tensor(MEAN, device=crops.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=crops.device).view(1, 3, 1, 1)
    return (crops.float().div(255) - mean) / std
