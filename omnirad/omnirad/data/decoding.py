"""Bytes of PNG and JPEG files to 8-bit images.

The rules, the same for every source: 8-bit values are used as stored; 16-bit grey is stretched
from its minimum to its maximum, each image by itself; EXIF orientation is honoured; transparency
is dropped; colour whose channels are equal becomes grey. Other colour stays RGB here; policies
that work on grey take its luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B).
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from omnirad.data.sources import Array, Content
from omnirad.errors import DataError

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
JPEG_END = b"\xff\xd9"
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
# Of these layouts (16 bits, several channels) Pillow keeps one byte of two.
DEEP_COLOUR = ("RGB;16B", "RGBA;16B", "LA;16B")
# What Pillow raises on files that are damaged, forged or of another format.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def decode(data: bytes, name: str) -> Array:
    """Return the image in an encoded file: uint8 [H, W] or [H, W, 3].

    Args:
        data: The file's bytes.
        name: What an error calls it.

    Raises:
        DataError: If it cannot be decoded.
    """
    with _opened(data, name) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in DEEP_MODES:
            return stretched(np.asarray(upright))
        if upright.mode in ("1", "L", "LA"):
            return np.array(upright.convert("L"))
        return grey_if_equal(np.array(upright.convert("RGB")))


def inspect(data: bytes, name: str) -> Content:
    """Check that an encoded file is complete, without decoding it where its format allows.

    A PNG's checksums are verified; a JPEG that does not end as JPEG does is decoded.

    Raises:
        DataError: If it is damaged.
    """
    with _opened(data, name) as image:
        if image.format == "PNG":
            image.verify()
        elif not data.endswith(JPEG_END):
            image.load()
    with _opened(data, name) as image:  # Pillow allows nothing after `verify`
        # Asking a PNG for its EXIF decodes it, which is for the few that have any.
        tagged = image.format != "PNG" or b"eXIf" in data
        turned = tagged and image.getexif().get(0x0112, 1) >= 5  # 5 to 8 swap the sides
        width, height = image.size[::-1] if turned else image.size
    return Content(height, width, hashlib.sha1(data, usedforsecurity=False).hexdigest())


def stretched(values: Array) -> Array:
    """Map values linearly to uint8 from minimum (0) to maximum (255); a constant becomes 0.

    Raises:
        ValueError: If values are not finite.
    """
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    lowest, highest = values.min(), values.max()
    if highest == lowest:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled: Array = np.rint((values - lowest) / (highest - lowest) * 255).astype(np.uint8)
    return scaled


def grey_if_equal(image: Array) -> Array:
    """Return [H, W] of an image [H, W, 3] whose channels are equal, else the image."""
    return image[..., 0].copy() if (image == image[..., :1]).all() else image


def luma(image: Array) -> Array:
    """Return the grey image [H, W] of an image uint8 [H, W] or [H, W, 3] (BT.601)."""
    return image if image.ndim == 2 else np.array(Image.fromarray(image).convert("L"))


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.tile and str(image.tile[0][3]) in DEEP_COLOUR:
                raise DataError(
                    f"{name} has 16 bits in each of several channels, of which the lower 8 would be "
                    "lost; store it as 16-bit grey or 8-bit colour"
                )
            yield image
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{name} cannot be read as PNG or JPEG ({error})") from None
