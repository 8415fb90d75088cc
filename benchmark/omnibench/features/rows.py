"""Rows of named tensors: read from shards, held in memory, or computed whenever they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from omnibench.features.cache import FeatureStore, Produce
from omnibench.features.shards import Draft, Shard
from omnibench.forward import CHUNK

HOLD_BYTES = 2 * 2**30  # of one split, in memory, where nothing is stored
SHARD_BYTES = 2**30  # few enough open files for a set of tens of thousands of images
SHARD_ROWS = 1024  # of small rows

Tensors = Mapping[str, Tensor]
Compute = Callable[[Tensor], Tensors]  # from indices [b] to tensors [b, ...]


class Column(NamedTuple):
    """One named tensor of a row."""

    name: str
    dtype: str  # torch's name
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return torch.Size(self.shape).numel() * int(getattr(torch, self.dtype).itemsize)

    def empty(self, count: int, pinned: bool = False) -> Tensor:
        """Return an unwritten tensor [count, *shape]."""
        dtype = getattr(torch, self.dtype)
        return torch.empty((count, *self.shape), dtype=dtype, pin_memory=pinned)


class Layout(tuple[Column, ...]):
    """The columns of a row, in the order of their bytes."""

    @classmethod
    def of(cls, tensors: Tensors) -> Layout:
        """Return the layout of rows [b, ...]."""
        return cls(
            Column(name, str(t.dtype).removeprefix("torch."), tuple(t.shape[1:]))
            for name, t in tensors.items()
        )

    @classmethod
    def parsed(cls, columns: Sequence[Any]) -> Layout:
        """Return the layout that `json.dumps` wrote as lists."""
        return cls(Column(name, dtype, tuple(shape)) for name, dtype, shape in columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self)

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return sum(column.nbytes for column in self)

    @property
    def shard_rows(self) -> int:
        """How many rows a shard holds: whole chunks of forward passes."""
        rows = min(SHARD_ROWS, SHARD_BYTES // max(1, self.nbytes))
        return max(CHUNK, rows // CHUNK * CHUNK)

    def pack(self, tensors: Tensors) -> memoryview:
        """Return rows [b, ...] as bytes, one row after another."""
        parts = [as_bytes(tensors[column.name].cpu()) for column in self]
        return torch.cat(parts, dim=1).numpy().data.cast("B")


def as_bytes(tensor: Tensor) -> Tensor:
    """View rows [b, ...] as uint8 [b, nbytes]; a copy only where they are not contiguous."""
    return tensor.contiguous().reshape(len(tensor), -1).view(torch.uint8)


class Rows(Protocol):
    """Tensors of the samples of a split."""

    seconds: float  # that computing all of them once took; 0 where they are computed on reading

    def __len__(self) -> int:
        """Number of samples N."""

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """Return tensors [b, ...] of the samples at the given indices [b]."""


def images_per_second(rows: Rows) -> float | None:
    """Return how fast rows were computed, or None where they are not kept."""
    return len(rows) / rows.seconds if rows.seconds else None


class StoredRows:
    """Rows read from shards, one system call a row; nothing is kept in memory.

    Args:
        shards: In order, without gaps.
        layout: Of their rows.
        pinned: Read into page-locked memory, from which an accelerator copies by itself.
    """

    def __init__(self, shards: Sequence[Shard], layout: Layout, *, pinned: bool = False) -> None:
        self.layout, self.pinned = layout, pinned
        self.seconds = sum(float(shard.description["seconds"]) for shard in shards)
        self._places = [(s, row) for s in shards for row in range(int(s.description["rows"]))]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """Return tensors [b, ...] in main memory."""
        found = {c.name: c.empty(len(index), self.pinned) for c in self.layout}
        views = [as_bytes(tensor).numpy() for tensor in found.values()]
        for place, sample in enumerate(index.tolist()):
            shard, row = self._places[sample]
            shard.read(row, self.layout.nbytes, [view[place] for view in views])
        return found


class HeldRows:
    """Rows in main memory."""

    def __init__(self, tensors: Tensors, seconds: float) -> None:
        self.tensors, self.seconds = dict(tensors), seconds

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """Return tensors [b, ...] in main memory."""
        return {name: tensor[index] for name, tensor in self.tensors.items()}


class ComputedRows:
    """Rows too many to keep: computed anew each time."""

    seconds = 0.0

    def __init__(self, compute: Compute, count: int) -> None:
        self.compute, self.count = compute, count

    def __len__(self) -> int:
        return self.count

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """Return tensors [b, ...] where they were computed."""
        return dict(self.compute(index))


class Picked:
    """One column of rows, read like a tensor: `picked[index]`."""

    def __init__(self, rows: Rows, name: str) -> None:
        self.rows, self.name = rows, name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.rows.read(index)[self.name]


def computed_once(
    store: FeatureStore | None,
    identity: Mapping[str, Any],
    layout: Layout,
    count: int,
    compute: Compute,
    *,
    what: str,
    advance: Callable[[int], None],
    pinned: bool = False,
    hold_bytes: int = HOLD_BYTES,
) -> Rows:
    """Compute rows once and keep them on disk, else in memory; where neither has room, compute anew.

    Args:
        store: Where to keep them; None keeps them in memory.
        identity: Everything that they depend on.
        layout: Of the rows.
        count: How many.
        compute: Makes those at given indices; called with at most `CHUNK` in ascending order.
        what: The rows in words.
        advance: Told how many were computed.
        pinned: See `StoredRows`.
        hold_bytes: Memory that they may take.
    """
    if store is not None:
        shards = store.obtain(
            identity,
            count,
            row_bytes=layout.nbytes,
            shard_rows=layout.shard_rows,
            produce=producer(layout, compute, advance),
            what=what,
        )
        if shards is not None:
            return StoredRows(shards, layout, pinned=pinned)
    if count * layout.nbytes > hold_bytes:
        return ComputedRows(compute, count)
    return _held(layout, count, compute, advance)


def producer(layout: Layout, compute: Compute, advance: Callable[[int], None]) -> Produce:
    """Return what writes computed rows to a shard; arguments as in `computed_once`."""

    def produce(draft: Draft, start: int, stop: int) -> Mapping[str, Any]:
        seconds = 0.0
        for part in torch.split(torch.arange(start, stop), CHUNK):
            clock = time.perf_counter()
            data = layout.pack(compute(part))
            seconds += time.perf_counter() - clock
            draft.add(data)
            advance(len(part))
        return {"seconds": seconds}

    return produce


def _held(layout: Layout, count: int, compute: Compute, advance: Callable[[int], None]) -> HeldRows:
    held = {column.name: column.empty(count) for column in layout}
    clock = time.perf_counter()
    for part in torch.split(torch.arange(count), CHUNK):
        for name, tensor in compute(part).items():
            held[name][part] = tensor.cpu()
        advance(len(part))
    return HeldRows(held, time.perf_counter() - clock)
