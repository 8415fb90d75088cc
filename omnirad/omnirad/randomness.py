"""Randomness as a function of position: a resumed run needs its step, and no generator's state."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive(*parts: object) -> int:
    """Return a 63-bit seed from the names and numbers of a position, such as ("masks", 0, 17, 1)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def numpy_generator(*parts: object) -> np.random.Generator:
    """Return numpy's generator of a position."""
    import numpy as np

    return np.random.default_rng(derive(*parts))


def torch_generator(*parts: object) -> torch.Generator:
    """Return torch's CPU generator of a position."""
    import torch

    return torch.Generator().manual_seed(derive(*parts))
