"""What statistics are made of: the cases of a dataset, and the runs of an encoder on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from omnibench.errors import IntegrityError, UsageError
from omnibench_leaderboard.stats.statistic import Ints, Statistic


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """The test cases that all encoders of a table share.

    Args:
        ids: Sample ids, integers [N], all different.
        groups: Patient, scan or article of each case, integers [N]; None where unknown.
    """

    ids: Ints
    groups: Ints | None = None

    def __post_init__(self) -> None:
        """Check that ids are unique and groups as many."""
        if self.ids.ndim != 1 or len(self.ids) == 0 or len(np.unique(self.ids)) < len(self.ids):
            raise IntegrityError(
                f"{self.ids.size} case ids, {len(np.unique(self.ids))} of them different; one of "
                "its own for every case was expected"
            )
        if self.groups is not None and self.groups.shape != self.ids.shape:
            raise IntegrityError(f"{self.groups.size} group ids for {len(self.ids)} cases")

    @classmethod
    def of(cls, ids: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Cases:
        """Return cases of plain sequences of integers."""
        known = None if groups is None else np.asarray(groups, dtype=np.int64)
        return cls(ids=np.asarray(ids, dtype=np.int64), groups=known)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def unit(self) -> Ints:
        """Index of each case's resampling unit, integers [N] in [0, units)."""
        if self.groups is None:
            return np.arange(len(self.ids))
        return np.asarray(np.unique(self.groups, return_inverse=True)[1], dtype=np.int64)

    @property
    def units(self) -> int:
        """Number of clusters, or of cases where there are none."""
        return int(self.unit.max()) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ids and groups: from it derive the draws that all encoders share."""
        content = hashlib.sha256(np.ascontiguousarray(self.ids).tobytes())
        if self.groups is not None:
            content.update(b"groups" + np.ascontiguousarray(self.groups).tobytes())
        return content.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """The runs of one encoder on one dataset under one recipe, seen through one metric.

    Args:
        encoder: As tables show it.
        seeds: Seeds of the finished runs, in the order of the statistic's runs.
        statistic: The metric.
        failed: Seeds whose runs failed.
        deterministic: The task has no seed noise: its one run is all there is.
        records: Digests of the records, from which random draws derive.
    """

    encoder: str
    seeds: tuple[int, ...]
    statistic: Statistic
    failed: tuple[int, ...] = ()
    deterministic: bool = False
    records: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check that every run has one seed of its own."""
        if len(self.seeds) != self.statistic.runs or len(set(self.seeds)) < len(self.seeds):
            raise UsageError(
                f"{self.encoder}: {len(self.seeds)} seeds {self.seeds} for {self.statistic.runs} "
                "runs; every run needs a seed of its own"
            )
        if set(self.seeds) & set(self.failed):
            raise UsageError(f"{self.encoder}: a seed is both finished and failed")

    @property
    def values(self) -> tuple[float, ...]:
        """The metric of every run, in the order of seeds."""
        return tuple(float(value) for value in self._values)

    @cached_property
    def _values(self) -> npt.NDArray[np.float64]:
        return self.statistic.values()

    def take(self, seeds: Sequence[int]) -> Statistic:
        """Return the statistic of some seeds, in their order."""
        return self.statistic.take(self.positions(seeds))

    def positions(self, seeds: Sequence[int]) -> list[int]:
        """Return where the runs of some seeds stand."""
        return [self.seeds.index(seed) for seed in seeds]
