"""Splits and datasets whose samples fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from omnibench.cards import SPLITS, DatasetKind
from omnibench.errors import UsageError, suggestion
from omnibench.interfaces import Split

Array = np.ndarray[Any, Any]


def frozen(array: Array) -> Array:
    """Return the array, made read-only."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class ArraySplit:
    """A split held in arrays; images are loaded when the first one is asked for.

    Args:
        load_images: Returns uint8 [N, H, W] or [N, H, W, 3].
        targets: Labels [N], masks uint8 [N, H, W], or several labels at once [N, C].
        ids: Sample ids, int64 [N], strictly increasing.
        groups: Group ids, int64 [N], or None where unknown.
    """

    load_images: Callable[[], Array]
    targets: Array
    ids: Array
    groups: Array | None = None

    def __post_init__(self) -> None:
        """Make what is shared read-only."""
        frozen(self.targets)
        frozen(self.ids)
        if self.groups is not None:
            frozen(self.groups)

    @cached_property
    def images(self) -> Array:
        """All images, read-only."""
        return frozen(self.load_images())

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.ids)

    def image(self, index: int) -> Array:
        """Return a copy of one image: uint8 [H, W] or [H, W, 3]."""
        return np.array(self.images[index])

    def target(self, index: int) -> Any:
        """Return one label as int, or a copy of one mask."""
        target = self.targets[index]
        return int(target) if target.ndim == 0 else np.array(target)


@dataclass(frozen=True, kw_only=True)
class OpenDataset:
    """An opened dataset (see `omnibench.interfaces.Dataset`)."""

    name: str
    kind: DatasetKind
    classes: tuple[str, ...]
    digest: str
    splits: Mapping[str, Split]
    facts: Mapping[str, str] = field(default_factory=dict)

    def split(self, name: str) -> Split:
        """Return `train`, `val` or `test`.

        Raises:
            UsageError: For any other name.
        """
        if name not in self.splits:
            raise UsageError(
                f"there is no split {name!r}.{suggestion(name, SPLITS)} "
                f"Splits are {', '.join(SPLITS)}"
            )
        return self.splits[name]


def content_digest(splits: Mapping[str, Split]) -> str:
    """Return the SHA-256 over names, ids, images and targets of all splits."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(f"{name} {len(split)}\n".encode())
        digest.update(np.ascontiguousarray(split.ids).tobytes())
        for index in range(len(split)):
            image, target = split.image(index), np.asarray(split.target(index))
            digest.update(f"{image.shape} {image.dtype} {target.shape} {target.dtype}\n".encode())
            digest.update(image.tobytes())
            digest.update(target.tobytes())
    return digest.hexdigest()
