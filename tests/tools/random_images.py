"""Small random images, and files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, (9, 7), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(values).save(path)
    return path
