"""Small archives in the real on-disk formats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnibench_plugins.datasets.facts import ArchiveFacts, read_facts


def facts_of(table: str, flag: str) -> ArchiveFacts:
    return next(facts for facts in read_facts(table) if facts.flag == flag)


@pytest.fixture
def small_set() -> Callable[..., ArchiveFacts]:
    """Returns facts of a published set with counts 4/2/3, and its archive written at 28 or 128."""

    def make(root: Path, collection: str, flag: str, **changed: np.ndarray) -> ArchiveFacts:
        size, key = (28, "labels") if collection == "medmnist" else (128, "label")
        facts = replace(facts_of(f"{collection}.json", flag), counts=(4, 2, 3))
        rng = np.random.default_rng(0)
        arrays = {}
        for split, count in zip(("train", "val", "test"), facts.counts, strict=True):
            shape = (count, size, size) if facts.channels == 1 else (count, size, size, 3)
            arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
            target = (count, 1) if key == "labels" else (count, size, size)
            highest = 1 if facts.task == "multi-label, binary-class" else len(facts.classes) - 1
            if facts.task.startswith("multi-label"):
                target = (count, len(facts.classes))
            arrays[f"{split}_{key}"] = rng.integers(0, highest + 1, target, dtype=np.uint8)
        arrays |= changed
        name = f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz"
        path = root / collection / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
        # An archive with changed arrays counts as one that was not published.
        content = b"" if changed else path.read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return replace(facts, md5={**facts.md5, size: md5})

    return make
