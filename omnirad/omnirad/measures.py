"""What the teacher's targets look like, for the monitors of collapse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from omnirad.losses import Targets


@dataclass(frozen=True)
class TargetMeasures:
    """Of one kind of target on one rank; entropies are shares of ln K, in [0, 1]."""

    entropy: Tensor  # mean over rows of H(q_i): 1 is uniform
    marginal_entropy: Tensor  # H(mean_i softmax(z_i / τ_t)), before centring: 0 is one prototype
    assigned: Tensor  # the largest prototype of each row, int64 [rows]


@torch.no_grad()
def measure(targets: Targets) -> TargetMeasures:
    """Measure targets chunk by chunk; without rows entropies are not a number."""
    logits = targets.logits
    rows = len(logits.vectors)
    entropy = torch.zeros_like(targets.offset[0])
    marginal = torch.zeros_like(targets.offset)
    assigned = []
    for chunk in logits.chunks:
        q = targets.log_probabilities(chunk).exp_()
        entropy += torch.special.entr(q).sum()
        assigned.append(q.argmax(dim=1))
        marginal += logits[chunk].softmax(dim=1).sum(dim=0)
    scale = math.log(len(targets.offset))
    return TargetMeasures(
        entropy=entropy / (rows * scale) if rows else entropy * torch.nan,
        marginal_entropy=torch.special.entr(marginal / rows).sum() / scale
        if rows
        else entropy * torch.nan,
        assigned=torch.cat(assigned)
        if assigned
        else torch.empty(0, dtype=torch.int64, device=targets.offset.device),
    )
