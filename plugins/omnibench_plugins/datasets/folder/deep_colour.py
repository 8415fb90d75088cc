"""PNG with 16 bits a channel and several channels, of which Pillow alone keeps the upper 8 bits."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray[Any, Any]

# PNG stores the upper byte first. Pillow's big-endian layouts keep that byte of each pair, its
# little-endian ones the other; for grey with alpha, four bytes a pixel are RGBA of 8 bits.
LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
GREY_ALPHA = "LA;16B"


def is_deep_colour(image: Image.Image) -> bool:
    """Tell whether an image, opened and not yet loaded, has 16 bits and several channels."""
    return _layout(image) in (*LOWER, GREY_ALPHA)


def read_deep_colour(source: Path | BytesIO) -> Array:
    """Return the stored values, uint16 [H, W, C] with C = 3 or 1: alpha is dropped.

    Raises:
        OSError: If it cannot be decoded.
    """
    with Image.open(source, formats=("PNG",)) as image:
        layout = _layout(image)
    if layout == GREY_ALPHA:
        pairs = _decoded(source, "RGBA")
        upper, lower = pairs[..., :1], pairs[..., 1:2]
    else:
        upper, lower = (_decoded(source, half)[..., :3] for half in (layout, LOWER[layout]))
    values: Array = upper * np.uint16(256) + lower
    return values


def _layout(image: Image.Image) -> str:
    """Return how pixels lie in the file, in Pillow's words."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles else ""


def _decoded(source: Path | BytesIO, layout: str) -> Array:
    """Return one byte of each value, uint16 [H, W, C], upright."""
    with Image.open(source, formats=("PNG",)) as image:
        image.tile = [(*tile[:3], layout) for tile in image.tile]  # type: ignore[misc]
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
