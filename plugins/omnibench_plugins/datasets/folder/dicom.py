"""Decode one DICOM image (extra `dicom`), with the grey values a reader would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets.folder.images import Array, grey_if_equal, stretched
from omnirad.data.dicom import MALFORMED, first_of, padding_of, windowed

WINDOWING = (
    "DICOM: modality LUT or rescale, then VOI LUT, else the first window, else min-max per image "
    "without padding; MONOCHROME1 inverted; padding black"
)


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
        padding = padding_of(raw, header)
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
    except (pydicom.errors.InvalidDicomError, *MALFORMED) as error:
        raise IntegrityError(f"{path.name} cannot be read as DICOM ({error})") from None


def _grey(values: Array, header: Any, padding: Array) -> Array:
    """Window modality values [H, W] to float32 in [0, 1]; padding does not count for min-max."""
    from pydicom import pixels

    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        table = pixels.apply_voi(np.rint(values).astype(np.int64), header)
        shown: Array = (table / (2**bits - 1)).astype(np.float32)
    elif header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        function = str(header.get("VOILUTFunction") or "LINEAR")
        centre, width = first_of(header.WindowCenter), first_of(header.WindowWidth)
        shown = windowed(values, centre, width, function).astype(np.float32)
    else:
        shown = np.zeros(values.shape, dtype=np.float32)
        shown[~padding] = stretched(values[~padding])
    inverted: bool = header.PhotometricInterpretation == "MONOCHROME1"
    return 1 - shown if inverted else shown


def _eight_bit(values: Array) -> Array:
    """Return colours [H, W, 3] as uint8."""
    return values if values.dtype == np.uint8 else np.rint(stretched(values) * 255).astype(np.uint8)
