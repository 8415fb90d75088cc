"""Rows of numbers about images, computed once and kept: a killed audit goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from omnibench.features.cache import FeatureStore
from omnibench.features.shards import Draft, Shard
from omnibench.interfaces import Progress

Array = np.ndarray[Any, Any]
Compute = Callable[[int, int], Array]  # rows [start, stop) of a structured array

SHARD_ROWS = 1024  # what a killed audit loses at most


class Rows:
    """Equally long rows that are read by number, from shards or from memory.

    Args:
        dtype: A structured type, one row.
        source: Shards that hold all rows together, or the rows themselves.
    """

    def __init__(self, dtype: np.dtype[Any], source: Sequence[Shard] | Array) -> None:
        self.dtype = dtype
        self._array = source if isinstance(source, np.ndarray) else None
        self._shards = () if isinstance(source, np.ndarray) else tuple(source)
        lengths = [int(shard.description["rows"]) for shard in self._shards]
        self._starts = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._array is None else len(self._array)

    def read(self, numbers: Sequence[int] | Array) -> Array:
        """Return rows by number, as a structured array [len(numbers)]."""
        if self._array is not None:
            return self._array[np.asarray(numbers, dtype=np.int64)]
        found = np.empty(len(numbers), self.dtype)
        buffer = memoryview(found.view(np.uint8).data).cast("B")
        size = self.dtype.itemsize
        for place, number in enumerate(numbers):
            shard = int(np.searchsorted(self._starts, number, side="right")) - 1
            into = buffer[place * size : (place + 1) * size]
            self._shards[shard].read(int(number - self._starts[shard]), size, [into])
        return found

    def all(self) -> Array:
        """Return every row; only for rows that are small."""
        return self.read(np.arange(len(self)))


def kept(
    store: FeatureStore | None,
    identity: Mapping[str, Any],
    dtype: np.dtype[Any],
    count: int,
    compute: Compute,
    *,
    what: str,
    progress: Progress,
) -> Rows:
    """Return rows from the store, computing those that are missing; without one, all in memory.

    Args:
        store: Where rows are kept.
        identity: Everything that they depend on, as JSON.
        dtype: One row.
        count: Number of rows.
        compute: Returns some of them.
        what: The rows in words, for progress and the log.
        progress: Told about each block of rows.
    """
    started = False

    def told(start: int, stop: int) -> Array:
        nonlocal started
        if not started:
            progress.start(what, count - start)
            started = True
        return compute(start, stop)

    def produce(draft: Draft, start: int, stop: int) -> Mapping[str, Any]:
        draft.add(memoryview(np.ascontiguousarray(told(start, stop)).view(np.uint8).data).cast("B"))
        return {}

    if store is not None and count:
        shards = store.obtain(
            identity,
            count,
            row_bytes=dtype.itemsize,
            shard_rows=SHARD_ROWS,
            produce=produce,
            what=what,
        )
        if shards is not None:
            return Rows(dtype, shards)
    blocks = [told(at, min(at + SHARD_ROWS, count)) for at in range(0, count, SHARD_ROWS)]
    return Rows(dtype, np.concatenate(blocks) if blocks else np.empty(0, dtype))
