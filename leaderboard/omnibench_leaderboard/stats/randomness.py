"""Generators derived from content: equal input, equal draws, whatever the time or file order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

VERSION = 1  # raised whenever a method draws differently


def generator(method: str, content: Iterable[str]) -> np.random.Generator:
    """Return a PCG64 generator seeded by a method's id and what it is applied to.

    Args:
        method: Id of the method that draws.
        content: Digests of records or cases; their order does not matter.
    """
    text = json.dumps([method, VERSION, sorted(content)], ensure_ascii=False)
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(seed))
