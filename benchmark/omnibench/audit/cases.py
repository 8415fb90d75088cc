"""All samples of a dataset as one list: train, then val, then test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnibench import environment
from omnibench.cards import SPLITS
from omnibench.interfaces import Dataset
from omnibench.subset import reader_of

Array = np.ndarray[Any, Any]

DECODERS = ("numpy", "pillow", "pydicom")


@dataclass(frozen=True)
class Cases:
    """Positions 0 … N-1 over the splits in order, so that a smaller one is in no later split.

    Args:
        dataset: Whose samples.
        starts: Position of the first sample of each split, and N.
    """

    dataset: Dataset
    starts: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Cases:
        """Return the samples of a dataset."""
        lengths = [len(dataset.split(name)) for name in SPLITS]
        return cls(dataset, tuple(int(start) for start in np.cumsum([0, *lengths])))

    def __len__(self) -> int:
        return self.starts[-1]

    def split_number(self, positions: Array) -> Array:
        """Return 0, 1 or 2 for train, val and test."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def place(self, position: int) -> tuple[str, int]:
        """Return the split of a position and the index in it."""
        number = int(self.split_number(np.array(position)))
        # Empty splits begin where the next one does; the last of them holds the sample.
        return SPLITS[number], position - self.starts[number]

    def image(self, position: int) -> Array:
        """Return one image as its split gives it."""
        split, index = self.place(position)
        return self.dataset.split(split).image(index)

    def target(self, position: int) -> Any:
        """Return one target as its split gives it."""
        split, index = self.place(position)
        return self.dataset.split(split).target(index)

    def ids(self) -> Array:
        """Return the sample ids in order, int64 [N]."""
        return np.concatenate([np.asarray(self.dataset.split(name).ids) for name in SPLITS])

    def identity(self) -> dict[str, Any]:
        """Return what rows about these samples depend on."""
        splits = hashlib.sha256(repr(self.starts).encode())
        splits.update(np.ascontiguousarray(self.ids()).tobytes())
        return {
            "dataset": self.dataset.name,
            "content_sha256": self.dataset.digest,
            "samples_sha256": splits.hexdigest(),
            "facts": dict(self.dataset.facts),
            "code": environment.source_code(reader_of(self.dataset)),
            "packages": environment.versions(DECODERS),
        }
