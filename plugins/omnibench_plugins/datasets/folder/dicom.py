"""Decode one DICOM image (extra `dicom`), with the grey values a reader would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets.folder.images import Array, grey_if_equal, stretched

WINDOWING = (
    "DICOM: modality LUT or rescale, then VOI LUT, else the first window, else min-max per image "
    "without padding; MONOCHROME1 inverted; padding black"
)
# What pydicom raises on elements that are absent or make no sense, besides its own error.
_MALFORMED = (AttributeError, EOFError, KeyError, NotImplementedError, TypeError, ValueError)


def read_dicom(path: Path) -> Array:
    """Return a single-frame image: float32 [H, W] in [0, 1], or uint8 [H, W, 3].

    Raises:
        SetupError: If pydicom or a decoder is missing.
        IntegrityError: If it cannot be decoded or has several frames.
    """
    try:
        import pydicom
        from pydicom import pixels
    except ImportError:
        raise SetupError("DICOM needs pydicom; pip install 'omnibench[dicom]'") from None
    compressed = False
    try:
        header = pydicom.dcmread(path)
        compressed = header.file_meta.TransferSyntaxUID.is_compressed
        frames = int(header.get("NumberOfFrames") or 1)
        if frames > 1:
            raise IntegrityError(f"{path.name} has {frames} frames; only 2D images are read")
        raw = pixels.pixel_array(header)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            return grey_if_equal(_eight_bit(pixels.apply_color_lut(raw, header)))
        if raw.ndim == 3:
            return grey_if_equal(_eight_bit(raw))
        padding = _padding(raw, header)
        shown = _grey(pixels.apply_modality_lut(raw, header), header, padding)
        shown[padding] = 0
        return shown
    except RuntimeError as error:
        if not compressed:
            raise IntegrityError(f"{path.name} cannot be read as DICOM ({error})") from None
        raise SetupError(
            f"{path.name} is compressed and no decoder for it is installed; pip install "
            "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        ) from None
    except (OSError, pydicom.errors.InvalidDicomError, *_MALFORMED) as error:
        raise IntegrityError(f"{path.name} cannot be read as DICOM ({error})") from None


def _padding(raw: Array, header: Any) -> Array:
    """Return which stored values [H, W] only fill the frame (DICOM PS3.3, C.7.5.1.1.2)."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(raw.shape, dtype=np.bool_)
    limit = header.get("PixelPaddingRangeLimit")
    # Scanners write -2000 as 63536 and the reverse: the tags' sign is not always the pixels'.
    bounds = np.array([value, value if limit is None else limit]).astype(raw.dtype)
    inside: Array = (raw >= bounds.min()) & (raw <= bounds.max())
    return inside


def _grey(values: Array, header: Any, padding: Array) -> Array:
    """Window modality values [H, W] to float32 in [0, 1]; padding does not count for min-max."""
    from pydicom import pixels

    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        table = pixels.apply_voi(np.rint(values).astype(np.int64), header)
        shown: Array = (table / (2**bits - 1)).astype(np.float32)
    elif header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        function = str(header.get("VOILUTFunction") or "LINEAR")
        shown = windowed(values, _first(header.WindowCenter), _first(header.WindowWidth), function)
    else:
        shown = np.zeros(values.shape, dtype=np.float32)
        shown[~padding] = stretched(values[~padding])
    inverted: bool = header.PhotometricInterpretation == "MONOCHROME1"
    return 1 - shown if inverted else shown


def windowed(values: Array, centre: float, width: float, function: str = "LINEAR") -> Array:
    """Map values to float32 in [0, 1] through a window (DICOM PS3.3, C.11.2.1).

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
    return np.clip(shown, 0, 1).astype(np.float32)


def _first(value: Any) -> float:
    """Return the first of one or several numbers."""
    return float(np.ravel(value)[0])


def _eight_bit(values: Array) -> Array:
    """Return colours [H, W, 3] as uint8."""
    return values if values.dtype == np.uint8 else np.rint(stretched(values) * 255).astype(np.uint8)
