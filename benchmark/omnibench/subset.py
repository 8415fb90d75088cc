"""A smaller view of a dataset, the same for every encoder: `--limit` and quick recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnibench.cards import SPLITS, DatasetKind
from omnibench.interfaces import ConceptSplit, Dataset, Split

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class _SubsetSplit:
    """The samples of a split at the given ascending positions."""

    split: Split
    positions: np.ndarray[Any, Any]

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        ids: np.ndarray[Any, Any] = self.split.ids[self.positions]
        return ids

    @property
    def groups(self) -> np.ndarray[Any, Any] | None:
        groups = self.split.groups
        return None if groups is None else groups[self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def image(self, index: int) -> np.ndarray[Any, Any]:
        return self.split.image(int(self.positions[index]))

    def target(self, index: int) -> Any:
        return self.split.target(int(self.positions[index]))


@dataclass(frozen=True)
class _ConceptSubsetSplit(_SubsetSplit):
    split: ConceptSplit

    def concepts(self, index: int) -> tuple[str, ...]:
        return self.split.concepts(int(self.positions[index]))


@dataclass(frozen=True)
class Derived:
    """A dataset made from another, whose images, targets and classes are that one's."""

    dataset: Dataset

    @property
    def kind(self) -> DatasetKind:
        """Kind of the whole dataset."""
        return self.dataset.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the whole dataset."""
        return self.dataset.classes


def reader_of(dataset: Dataset) -> str:
    """Return the module whose code reads a dataset's images."""
    while isinstance(dataset, Derived):
        dataset = dataset.dataset
    return type(dataset).__module__


def at_positions(split: Split, positions: np.ndarray[Any, Any]) -> Split:
    """Return the samples of a split at ascending positions, int64 [n]."""
    if isinstance(split, ConceptSplit):
        return _ConceptSubsetSplit(split, positions)
    return _SubsetSplit(split, positions)


@dataclass(frozen=True)
class Subset(Derived):
    """A dataset with at most `limits` samples in train, val and test.

    The draw depends on dataset name, split and limit alone, so that encoders share it.
    """

    limits: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Name of the whole dataset; the record carries the limits."""
        return self.dataset.name

    @property
    def digest(self) -> str:
        """Digest of the whole dataset."""
        return self.dataset.digest

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts of the whole dataset and the limits."""
        return {**self.dataset.facts, "subset": "/".join(map(str, self.limits))}

    def split(self, name: str) -> Split:
        """Return at most the allowed number of samples, drawn once and for all."""
        import numpy as np

        split = self.dataset.split(name)
        limit = self.limits[SPLITS.index(name)]
        if len(split) <= limit:
            return split
        key = hashlib.sha256(f"{self.name}\x1f{name}\x1f{limit}".encode()).digest()
        draw = np.random.Generator(np.random.PCG64(int.from_bytes(key[:8])))
        return at_positions(split, np.sort(draw.choice(len(split), size=limit, replace=False)))
