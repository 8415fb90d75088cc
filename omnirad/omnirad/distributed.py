"""Which process this is, and where it computes: alone, or one of several that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import distributed as dist

from omnirad.comm import Comm, NullComm, TorchComm
from omnirad.errors import SetupError, UsageError

# The first rank reads every image once before the others may begin.
PATIENCE = timedelta(hours=2)


class Place(NamedTuple):
    """A process of the run."""

    comm: Comm
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.comm.rank == 0

    def told(self, value: Any) -> Any:
        """Return the first rank's value on every rank."""
        if self.comm.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


@contextmanager
def placed(device: str) -> Iterator[Place]:
    """Join the group that torchrun's environment describes, if there is one.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`; torchrun gives each process its own GPU.

    Raises:
        SetupError: If the device is not there.
        UsageError: If it is no device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    where = chosen_device(device, local if world > 1 else None)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if world == 1:
        yield Place(NullComm(), where)
        return
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Place(TorchComm(), where)
    finally:
        dist.destroy_process_group()


def chosen_device(name: str, local_rank: int | None) -> torch.device:
    """Return the device of a name, for a local rank where there are several."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    index = device.index if local_rank is None else local_rank
    if (index or 0) >= torch.cuda.device_count():
        raise SetupError(
            f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s) that torch can "
            "use; use --device cpu or fewer processes"
        )
    return torch.device("cuda", index or 0)
