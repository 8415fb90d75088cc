"""One DICOM image with the grey values a reader would see (extra `dicom`).

Windowing: modality LUT or rescale, then VOI LUT, else the file's first window, else minimum to
maximum of each image by itself without padding; MONOCHROME1 is inverted; padding is black.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from omnirad.data.decoding import grey_if_equal, stretched
from omnirad.data.sources import Array, Content
from omnirad.errors import DataError, SetupError

# What pydicom raises on elements that are absent or make no sense, besides its own error.
MALFORMED = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
)


def require_pydicom() -> None:
    """Raise `SetupError` unless pydicom is installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise SetupError("DICOM needs pydicom; pip install 'omnibench[dicom]'") from None


def decode(data: bytes, name: str) -> Array:
    """Return a single-frame image: uint8 [H, W] or [H, W, 3].

    Args:
        data: The file's bytes.
        name: What an error calls it.

    Raises:
        SetupError: If a decoder for compressed pixels is missing.
        DataError: If it cannot be decoded or has several frames.
    """
    import pydicom

    compressed = False
    try:
        header = pydicom.dcmread(io.BytesIO(data))
        compressed = header.file_meta.TransferSyntaxUID.is_compressed
        frames = int(header.get("NumberOfFrames") or 1)
        if frames == 1:
            return _pixels(header)
    except RuntimeError as error:
        if not compressed:
            raise DataError(f"{name} cannot be read as DICOM ({error})") from None
        raise SetupError(
            f"{name} is compressed and no decoder for it is installed; pip install "
            "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        ) from None
    except (pydicom.errors.InvalidDicomError, *MALFORMED) as error:
        raise DataError(f"{name} cannot be read as DICOM ({error})") from None
    raise DataError(f"{name} has {frames} frames; split it, only 2D images are read")


def inspect(data: bytes, name: str) -> Content:
    """Decode a file, the only way to know that it is complete, and digest it."""
    height, width = decode(data, name).shape[:2]
    return Content(height, width, hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _pixels(header: Any) -> Array:
    from pydicom import pixels

    raw: Array = pixels.pixel_array(header)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        raw = pixels.apply_color_lut(raw, header)
    if raw.ndim == 3:
        return grey_if_equal(raw if raw.dtype == np.uint8 else stretched(raw))
    padding = padding_of(raw, header)
    shown = _windowed(pixels.apply_modality_lut(raw, header), header, padding)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 255 - shown
    shown[padding] = 0
    return shown


def padding_of(raw: Array, header: Any) -> Array:
    """Return which stored values [H, W] only fill the frame (PS3.3, C.7.5.1.1.2)."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(raw.shape, dtype=np.bool_)
    limit = header.get("PixelPaddingRangeLimit")
    # Scanners write -2000 as 63536 and the reverse: the tags' sign is not always the pixels'.
    bounds = np.array([value, value if limit is None else limit]).astype(raw.dtype)
    inside: Array = (raw >= bounds.min()) & (raw <= bounds.max())
    return inside


def _windowed(values: Array, header: Any, padding: Array) -> Array:
    """Return modality values [H, W] as uint8; padding does not count for minimum and maximum."""
    from pydicom import pixels

    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        table = pixels.apply_voi(np.rint(values).astype(np.int64), header)
        return _eight_bit(table / (2**bits - 1))
    if header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        centre, width = (first_of(header.get(tag)) for tag in ("WindowCenter", "WindowWidth"))
        function = str(header.get("VOILUTFunction") or "LINEAR")
        return _eight_bit(windowed(values, centre, width, function))
    shown = np.zeros(values.shape, dtype=np.uint8)
    if not padding.all():
        shown[~padding] = stretched(values[~padding])
    return shown


def windowed(values: Array, centre: float, width: float, function: str = "LINEAR") -> Array:
    """Map values to float64 in [0, 1] through a window (PS3.3, C.11.2.1).

    Raises:
        ValueError: For a width or a function that the standard does not allow.
    """
    x = values.astype(np.float64)
    if width < 1 if function == "LINEAR" else width <= 0:
        raise ValueError(f"window width {width}")
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(-4 * (x - centre) / width))
    elif function == "LINEAR_EXACT":
        shown = (x - centre) / width + 0.5
    elif function == "LINEAR" and width == 1:
        shown = (x > centre - 0.5).astype(np.float64)
    elif function == "LINEAR":
        shown = (x - (centre - 0.5)) / (width - 1) + 0.5
    else:
        raise ValueError(f"VOI LUT function {function}")
    return np.clip(shown, 0, 1)


def _eight_bit(values: Array) -> Array:
    """Return values in [0, 1] as uint8."""
    levels: Array = np.rint(values * 255).astype(np.uint8)
    return levels


def first_of(value: Any) -> float:
    """Return the first of one or several numbers."""
    return float(np.ravel(value)[0])
