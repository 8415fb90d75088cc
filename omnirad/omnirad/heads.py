"""The projection head: an MLP to the unit sphere, and prototypes on it (D2's `DINOHead`)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

EPSILON = 1e-12  # lower bound of norms; computed in fp32 at least
INIT_STD = 0.02


class ProjectionHead(nn.Module):
    """Linear D→hidden, GELU, …, Linear hidden→bottleneck, then the unit sphere.

    Logits are `head(x) @ head.prototypes().T`. They are formed where they are used up
    (`prototype_loss`), since with 131072 prototypes they are what fills the memory.

    Args:
        embed_dim: D.
        prototypes: K.
        hidden: Width of the MLP.
        bottleneck: Dimensions of the sphere.
        layers: Linear layers of the MLP.
        norm_last_layer: Fix the gain of each prototype at 1, so that logits are cosines; else it
            is trained (and decayed).
    """

    def __init__(
        self,
        embed_dim: int,
        prototypes: int,
        *,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        norm_last_layer: bool = False,
    ) -> None:
        super().__init__()
        widths = [embed_dim, *[hidden] * (layers - 1), bottleneck]
        steps: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            steps += [nn.Linear(fan_in, fan_out), nn.GELU()]
        self.mlp = nn.Sequential(*steps[:-1])
        last = nn.Linear(bottleneck, prototypes, bias=False)
        for module in (*self.mlp, last):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.last_layer = weight_norm(last, dim=0)
        gain = cast(Tensor, self.last_layer.parametrizations.weight.original0)
        nn.init.ones_(gain)
        gain.requires_grad_(not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [rows, D] to unit vectors [rows, bottleneck], fp32 at least."""
        return unit(self.mlp(x))

    def prototypes(self) -> Tensor:
        """Return gain · direction, [K, bottleneck]."""
        return cast(Tensor, self.last_layer.weight)


def unit(x: Tensor) -> Tensor:
    """Divide vectors by their length, in fp32 at least."""
    with torch.autocast(x.device.type, enabled=False):
        return F.normalize(at_least_fp32(x), dim=-1, eps=EPSILON)


def at_least_fp32(x: Tensor) -> Tensor:
    """Return half-precision values as fp32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
