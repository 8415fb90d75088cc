"""From an encoder's tokens to what BART reads: projection and patch merger (OmniRad, Sec. 3.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnibench_plugins.tasks.caption.recipe import CaptionRecipe


class Projection(nn.Module):
    """Z = LN(W_p T).

    Args:
        inputs: D_v, the encoder's width.
        outputs: D_l, the language model's width.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(self.linear.weight)  # unstated, as is the bias
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map T [B, N, D_v] to Z [B, N, D_l]."""
        projected: Tensor = self.norm(self.linear(tokens))
        return projected


class PatchMerger(nn.Module):
    """Pool N tokens into K by cross-attention with learnable queries.

    A = softmax(Q Z^T / sqrt(D_l)),  P = A Z

    Args:
        tokens: K.
        dim: D_l.
        scaled: Divide by sqrt(D_l), as the paper states; the released code does not.
        normed: Pass Z through another LayerNorm first, as only the released code does.
    """

    def __init__(self, tokens: int, dim: int, *, scaled: bool, normed: bool) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(tokens, dim))  # unstated
        self.scale = 1 / math.sqrt(dim) if scaled else 1.0
        self.norm = nn.LayerNorm(dim) if normed else nn.Identity()

    def forward(self, projected: Tensor) -> Tensor:
        """Map Z [B, N, D_l] to P [B, K, D_l]."""
        z = self.norm(projected)
        attention = (self.queries @ z.transpose(1, 2) * self.scale).softmax(dim=-1)  # [B, K, N]
        pooled: Tensor = attention.to(z.dtype) @ z
        return pooled


class Bridge(nn.Module):
    """Projection and patch merger of a recipe.

    Args:
        inputs: D_v.
        outputs: D_l.
        recipe: Number of queries, and how they are compared.
    """

    def __init__(self, inputs: int, outputs: int, recipe: CaptionRecipe) -> None:
        super().__init__()
        self.merger = PatchMerger(
            recipe.merger_tokens,
            outputs,
            scaled=recipe.merger_scale == "inv_sqrt_d",
            normed=recipe.merger_norm,
        )
        # drawn last: encoders of different widths begin with the same queries
        self.projection = Projection(inputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map an encoder's tokens [B, N, D_v] to the visual prefix P [B, K, D_l]."""
        prefix: Tensor = self.merger(self.projection(tokens))
        return prefix
