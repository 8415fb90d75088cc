"""Open a published `.npz` archive: six arrays that must be what the card says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError
from omnibench_plugins.datasets import npz
from omnibench_plugins.datasets.arrays import ArraySplit
from omnibench_plugins.datasets.facts import ArchiveFacts
from omnibench_plugins.datasets.storage import StoredFile

Array = np.ndarray[Any, Any]


def open_splits(
    stored: StoredFile,
    facts: ArchiveFacts,
    size: int,
    *,
    target_key: str,
    target_shape: tuple[int, ...],
    decode: Callable[[Array], Array],
    highest: int,
) -> dict[str, ArraySplit]:
    """Check all arrays of an archive and return its splits; targets are read at once.

    Args:
        stored: The archive. One that is not the published file may hold fewer samples.
        facts: What it should hold.
        size: Side of its images in pixels.
        target_key: Name of the target arrays after `train_`.
        target_shape: Shape of one sample's target.
        decode: Turns checked raw targets into those of the contract.
        highest: Largest raw value a target may have.

    Raises:
        IntegrityError: Naming the array, what it holds and what was expected.
    """
    found = npz.headers(stored.path)
    image_shape = (size, size) if facts.channels == 1 else (size, size, facts.channels)
    splits, first_id = {}, 0
    for split, published in zip(SPLITS, facts.counts, strict=True):
        images, targets = f"{split}_images", f"{split}_{target_key}"
        count = _require_array(stored, found, images, published, image_shape)
        if _require_array(stored, found, targets, published, target_shape, "bui") != count:
            raise IntegrityError(
                f"{stored.path} has {count} images and {found[targets].shape[0]} targets in "
                f"{split}, equal numbers were expected"
            )
        raw = npz.read(stored.path, targets)
        _require_range(stored.path, targets, raw, highest, facts)
        splits[split] = ArraySplit(
            load_images=partial(npz.read, stored.path, images),
            targets=decode(raw),
            ids=np.arange(first_id, first_id + count, dtype=np.int64),
        )
        first_id += published
    if not stored.verified:
        # No digest vouches for these images: damage must show now, not after training.
        for checked in splits.values():
            _ = checked.images
    return splits


def archive_facts(stored: StoredFile, facts: ArchiveFacts, size: int) -> dict[str, str]:
    """Return what a record should say about an opened archive."""
    said = {"source_size": str(size), "source": f"Zenodo record {facts.record}"}
    return said if stored.verified else said | {"unverified": "true"}


def _require_array(
    stored: StoredFile,
    found: dict[str, npz.Header],
    name: str,
    published: int,
    sample_shape: tuple[int, ...],
    kinds: str = "",
) -> int:
    """Return the number of samples of an array whose header is as expected.

    `kinds` are numpy's letters for the kinds of number allowed besides uint8.
    """
    if name not in found:
        raise IntegrityError(
            f"{stored.path} has no array {name!r}; it has {', '.join(sorted(found)) or 'none'}"
        )
    header = found[name]
    if header.dtype != np.uint8 and header.dtype.kind not in kinds:
        raise IntegrityError(
            f"{stored.path}: {name} holds {header.dtype} numbers, uint8 was expected"
        )
    count = header.shape[0] if header.shape else 0
    # The published number bounds what a file of a stranger can make us allocate.
    fits = count == published if stored.verified else 0 < count <= published
    if header.shape[1:] != sample_shape or not fits:
        raise IntegrityError(
            f"{stored.path}: {name} has shape {header.shape}, "
            f"{(published, *sample_shape)} was expected"
        )
    return count


def _require_range(path: Path, name: str, raw: Array, highest: int, facts: ArchiveFacts) -> None:
    lowest, value = int(raw.min()), int(raw.max())
    if lowest < 0 or value > highest:
        raise IntegrityError(
            f"{path}: {name} holds the values {lowest} to {value}, {facts.flag} declares 0 to {highest} "
            f"({', '.join(facts.classes)})"
        )
