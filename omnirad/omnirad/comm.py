"""The collectives that the recipe needs, behind one small door, so that one process needs none."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch import distributed as dist


class Comm(Protocol):
    """Sums and maxima over all ranks. Tensors are not changed."""

    rank: int
    world_size: int

    def sum(self, value: Tensor) -> Tensor:
        """Return the elementwise sum over ranks."""
        ...

    def max(self, value: Tensor) -> Tensor:
        """Return the elementwise maximum over ranks."""
        ...


class NullComm:
    """One process."""

    rank = 0
    world_size = 1

    def sum(self, value: Tensor) -> Tensor:
        """Return `value`."""
        return value

    def max(self, value: Tensor) -> Tensor:
        """Return `value`."""
        return value


class TorchComm:
    """The default process group of `torch.distributed`, which must exist."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def sum(self, value: Tensor) -> Tensor:
        """Return the elementwise sum over ranks."""
        return self._reduce(value, dist.ReduceOp.SUM)

    def max(self, value: Tensor) -> Tensor:
        """Return the elementwise maximum over ranks."""
        return self._reduce(value, dist.ReduceOp.MAX)

    def _reduce(self, value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        reduced = value.detach().clone()
        dist.all_reduce(reduced, operation)
        return reduced


def logsumexp(comm: Comm, value: Tensor) -> Tensor:
    """Return log Σ exp over all ranks, elementwise; -inf stands for a rank without rows."""
    highest = comm.max(value)
    return highest + torch.log(comm.sum(torch.exp(value - highest)))
