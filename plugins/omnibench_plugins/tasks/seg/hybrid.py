"""Hybrid encoder: attention on the coarsest map, then features top-down and bottom-up.

Named in the heading of OmniRad, Sec. 3.3, and otherwise unstated: the released code's. Without it
the paper's parameter counts cannot be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.layers import conv_norm

HEADS = 6
TEMPERATURE = 10_000.0


class Width(NamedTuple):
    """Size of the segmentation modules."""

    dim: int  # D
    csp_dim: int  # width inside a fuse block: round(floor(expansion * D / 2))
    csp_depth: int  # RepVGG blocks in each CSP block


SMALL = Width(384, 65, 2)  # expansion 0.34, depth factor 0.67
BASE = Width(768, 257, 3)  # expansion 0.67, depth factor 1


class HybridEncoder(nn.Module):
    """Mix three maps of width D across positions and scales.

    Args:
        width: D and the sizes of the fuse blocks.
        ffn_dim: Width F of the feed-forward layer.
    """

    def __init__(self, width: Width, ffn_dim: int) -> None:
        super().__init__()
        d = width.dim
        self.attention = ScaleAttention(d, ffn_dim)
        self.lateral = nn.ModuleList(conv_norm(d, d, 1) for _ in range(2))
        self.top_down = nn.ModuleList(FuseBlock(width) for _ in range(2))
        self.down = nn.ModuleList(
            nn.Sequential(conv_norm(d, d, 1), conv_norm(d, d, 3, 2, groups=d)) for _ in range(2)
        )
        self.bottom_up = nn.ModuleList(FuseBlock(width) for _ in range(2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map P_8, P_16, P_32 [B, D, h, w] to F_8, F_16, F_32 of the same shapes."""
        p8, p16, p32 = maps
        t32 = self.lateral[0](self.attention(p32))
        t16 = self.lateral[1](self.top_down[0](_nearest(t32, p16) + p16))
        f8 = self.top_down[1](_nearest(t16, p8) + p8)
        # The lateral outputs, not what they were made of, come back on the way up.
        f16 = self.bottom_up[0](self.down[0](f8) + t16)
        f32 = self.bottom_up[1](self.down[1](f16) + t32)
        return [f8, f16, f32]


class ScaleAttention(nn.Module):
    """One post-norm transformer layer over the positions of a map (RT-DETR's AIFI)."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, HEADS, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(), nn.Linear(ffn_dim, dim))
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, h, w] to the same shape; positions enter queries and keys, not values."""
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)  # [B, h*w, D], row-major
        where = tokens + position_code(height, width, x.shape[1]).to(tokens)
        mixed, _ = self.attention(where, where, tokens, need_weights=False)
        tokens = self.norm1(tokens + mixed)
        out: Tensor = self.norm2(tokens + self.ffn(tokens))
        return out.transpose(1, 2).reshape(x.shape)


def position_code(height: int, width: int, dim: int) -> Tensor:
    """Return fixed codes [h*w, D] of row-major positions: sin and cos of row, then of column.

    Frequencies are 10000^(-j / (D/4)) for j = 0 .. D/4 - 1. The released code lays the grid out
    column by column; on square maps that is this.
    """
    frequency = TEMPERATURE ** (-torch.arange(dim // 4) / (dim // 4))
    row = torch.arange(height).repeat_interleave(width)[:, None] * frequency
    column = torch.arange(width).repeat(height)[:, None] * frequency
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], dim=1)


class FuseBlock(nn.Module):
    """Four aggregated depths of one map (ELAN) after two scales were summed."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        d, w, depth = width
        self.split = nn.Sequential(conv_norm(d, 2 * d, 1), nn.SiLU())
        self.deeper = nn.ModuleList([CspBlock(d, w, depth), CspBlock(w, w, depth)])
        self.join = nn.Sequential(conv_norm(2 * d + 2 * w, d, 1), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, h, w] to the same shape."""
        parts = list(self.split(x).chunk(2, dim=1))
        for block in self.deeper:
            parts.append(block(parts[-1]))
        joined: Tensor = self.join(torch.cat(parts, dim=1))
        return joined


class CspBlock(nn.Module):
    """Two halves, one of which passes `depth` RepVGG blocks; their sum."""

    def __init__(self, inputs: int, dim: int, depth: int) -> None:
        super().__init__()
        self.split = nn.Sequential(conv_norm(inputs, 2 * dim, 1), nn.SiLU())
        self.blocks = nn.Sequential(*(RepVgg(dim) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, dim, h, w]."""
        straight, deep = self.split(x).chunk(2, dim=1)
        total: Tensor = straight + self.blocks(deep)
        return total


class RepVgg(nn.Module):
    """A 3x3 and a 1x1 convolution in parallel, without identity branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide = conv_norm(dim, dim, 3)
        self.narrow = conv_norm(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, dim, h, w] to the same shape."""
        return F.silu(self.wide(x) + self.narrow(x))


def _nearest(x: Tensor, like: Tensor) -> Tensor:
    """Magnify to the size of the finer map: twice, less one row where that is odd."""
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
