"""Stochastic depth with one rate for all blocks, drawn from the run's position.

timm's own ramps up from 0 and draws from a global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Branch = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DropPath:
    """One step's draws for every residual branch.

    Either `kept` [branches, s], the samples whose branch is computed, or `scale` [branches, B],
    the factor of each sample's branch: 0 or 1 / (1 - rate).
    """

    kept: Tensor | None = None
    scale: Tensor | None = None

    def add(self, x: Tensor, branch: Branch, index: int) -> Tensor:
        """Return x + branch(x) for [B, T, D], with the draws of branch `index`."""
        if self.kept is not None:
            rows = self.kept[index]
            update = branch(x.index_select(0, rows))
            return x.index_add(0, rows, update.to(x.dtype), alpha=len(x) / len(rows))
        if self.scale is not None:
            return x + branch(x) * self.scale[index, :, None, None].to(x.dtype)
        return x + branch(x)


KEEP_ALL = DropPath()


def draw_drop_path(
    rate: float,
    mode: Literal["subset", "sample"],
    *,
    branches: int,
    samples: int,
    generator: torch.Generator,
    device: torch.device,
) -> DropPath:
    """Draw which samples skip which branch; the expectation of every branch is kept.

    Args:
        rate: Share p that skips, in [0, 1).
        mode: `subset` keeps exactly max(⌊B (1 - p)⌋, 1) samples and computes only those, `sample`
            draws each sample by itself.
        branches: Two a block.
        samples: B.
        generator: On the CPU; one draw for all branches, so that one copy reaches the device.
        device: Where the result is used.
    """
    if rate == 0:
        return KEEP_ALL
    draws = torch.rand(branches, samples, generator=generator)
    if mode == "subset":
        keep = max(int(samples * (1 - rate)), 1)
        return DropPath(kept=draws.argsort(dim=1)[:, :keep].to(device, non_blocking=True))
    kept = (draws >= rate) / (1 - rate)
    return DropPath(scale=kept.to(device, non_blocking=True))
