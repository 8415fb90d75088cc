"""The eight symmetries of the square, by number: +1 swaps the axes, +2 turns rows over, +4 columns."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NAMES = (
    "",
    "mirrored and turned by 90°",
    "upside down",
    "turned by 90° to the left",
    "mirrored",
    "turned by 90° to the right",
    "turned by 180°",
    "mirrored and turned by 90°",
)
ALL = range(len(NAMES))
# Swapping the axes changes rows and columns: only the two quarter turns are not their own inverse.
INVERSE = np.array([0, 1, 2, 5, 4, 3, 6, 7], dtype=np.uint8)


def turned(images: Array, symmetry: int) -> Array:
    """Return images [..., H, W] under one symmetry; axes are swapped first."""
    if symmetry & 1:
        images = images.swapaxes(-1, -2)
    if symmetry & 2:
        images = images[..., ::-1, :]
    return images[..., ::-1] if symmetry & 4 else images
