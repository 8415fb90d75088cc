"""PNG with 16 bits a channel and several channels, which Pillow would cut to 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# PNG specification, 11.2.1: the header chunk comes first, its bit depth is byte 24 of the file
# and its colour type byte 25; 2 is RGB, 4 grey with alpha, 6 RGB with alpha.
DEPTH, COLOUR = 24, 25
CHANNELS = {2: 3, 4: 1, 6: 3}  # without alpha


def is_deep_colour(path: Path) -> bool:
    """Tell whether a file is a PNG of 16 bits and several channels."""
    header = _header(path)
    return header[:4] == b"\x89PNG" and header[DEPTH] == 16 and header[COLOUR] in CHANNELS


def read_deep_colour(path: Path) -> Array:
    """Return the stored values, uint16 [H, W, C] with C = 3 or 1: alpha is dropped.

    Raises:
        ValueError: If it cannot be decoded.
    """
    from torchvision.io import decode_image, read_file

    try:
        decoded = decode_image(read_file(str(path)), "UNCHANGED", apply_exif_orientation=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    channels = CHANNELS[_header(path)[COLOUR]]
    values: Array = decoded[:channels].permute(1, 2, 0).numpy()
    return values


def _header(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(COLOUR + 1)
