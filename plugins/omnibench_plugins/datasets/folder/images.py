"""Decode one image or mask of a folder: PNG, JPEG, DICOM.

Rules that records state (`PIXEL_RULES`): 8-bit images are used as they are; deeper ones are
stretched from their minimum to their maximum, each image by itself; EXIF orientation is honoured;
transparency is dropped; colour images whose channels are equal become grey.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from omnibench.errors import IntegrityError
from omnibench_plugins.datasets.folder.deep_colour import is_deep_colour, read_deep_colour
from omnibench_plugins.datasets.folder.samples import DICOM

Array = np.ndarray[Any, Any]

PIXEL_RULES = "8 bit as stored; deeper than 8 bit: min-max per image"
# The last bytes of a complete file.
ENDINGS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)


def read_image(path: Path) -> Array:
    """Return an image [H, W] or [H, W, 3]: uint8, or float32 in [0, 1].

    Raises:
        IntegrityError: If it cannot be decoded.
        SetupError: If a package for DICOM is missing.
    """
    if path.suffix.lower() in DICOM:
        from omnibench_plugins.datasets.folder.dicom import read_dicom

        return read_dicom(path)
    with _opened(path, path.name) as image:
        if is_deep_colour(image):
            return grey_if_equal(stretched(read_deep_colour(path)))
        return _pixels(ImageOps.exif_transpose(image))


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of an image after checking that its file is complete.

    A file that ends as its format says is not decoded; any other, and DICOM, is.

    Raises:
        IntegrityError: If it cannot be decoded.
        SetupError: If a package for DICOM is missing.
    """
    if path.suffix.lower() in DICOM:
        height, width = read_image(path).shape[:2]
        return height, width
    with _opened(path, path.name) as image, path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(ENDINGS["PNG"])))
        return _size(image, stream.read())


def decode(data: bytes, name: str) -> Array:
    """Return an image like `read_image`, from the bytes of a PNG or JPEG file called `name`.

    Raises:
        IntegrityError: If it cannot be decoded.
    """
    with _opened(io.BytesIO(data), name) as image:
        if is_deep_colour(image):
            return grey_if_equal(stretched(read_deep_colour(io.BytesIO(data))))
        return _pixels(ImageOps.exif_transpose(image))


def check(data: bytes, name: str) -> None:
    """Check that the bytes of a PNG or JPEG file called `name` are complete.

    Raises:
        IntegrityError: If it cannot be decoded.
    """
    with _opened(io.BytesIO(data), name) as image:
        _size(image, data)


def read_mask(path: Path) -> Array:
    """Return the values of a mask [H, W] as stored: class indices, 0/255, or palette indices.

    Raises:
        IntegrityError: If it cannot be decoded, is coloured, or is no PNG.
    """
    if path.suffix.lower() != ".png":
        raise IntegrityError(f"{path.name} is no PNG: masks must be, other formats change values")
    with _opened(path, path.name) as image:
        deep = is_deep_colour(image)
        values = read_deep_colour(path) if deep else np.asarray(ImageOps.exif_transpose(image))
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        if (colours != colours[..., :1]).any():
            raise IntegrityError(
                f"{path.name} is a colour image; masks hold class indices, or 0 and 255"
            )
        values = colours[..., 0]
    result: Array = values.astype(np.uint8) if values.dtype == np.bool_ else values
    return result


def stretched(values: Array) -> Array:
    """Map values linearly to float32 in [0, 1] from minimum to maximum; a constant becomes 0."""
    values = values.astype(np.float64)
    if values.size == 0:
        return values.astype(np.float32)
    lowest, highest = values.min(), values.max()
    if highest == lowest:
        return np.zeros(values.shape, dtype=np.float32)
    scaled: Array = ((values - lowest) / (highest - lowest)).astype(np.float32)
    return scaled


def grey_if_equal(image: Array) -> Array:
    """Return [H, W] of an image [H, W, C] whose channels are equal, else the image."""
    return image[..., 0].copy() if (image == image[..., :1]).all() else image


def _pixels(image: Image.Image) -> Array:
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        return stretched(values)
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L"))
    return grey_if_equal(np.array(image.convert("RGB")))


def _size(image: Image.Image, tail: bytes) -> tuple[int, int]:
    """Return (H, W) of an image whose file ends in `tail`; decode it if that is no proper end."""
    if not tail.endswith(ENDINGS[str(image.format)]):
        image.load()
    turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 swap the sides
    return image.size if turned else (image.height, image.width)


@contextmanager
def _opened(source: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(source, formats=tuple(ENDINGS)) as image:
            yield image
    except UNREADABLE as error:
        raise IntegrityError(f"{name} cannot be read as PNG or JPEG ({error})") from None
