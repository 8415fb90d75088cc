"""THE ONE HAND-WRITTEN ENCODER LOOP: what OmniRad's released segmentation code runs.

It knows patch embedding, class token, absolute positions and blocks, and nothing else. For plain
ViT, DINO, DINOv2 and MAE that is the model. DINOv3 loses its rotary positions and registers, so
that it receives no positions at all, and CLIP loses the norm before its first block. Kept behind
`--recipe released`, to reproduce those rows; every other recipe lets the encoder run itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from omnibench.encoder import Encoder
from omnibench.errors import UsageError

PARTS = ("patch_embed", "cls_token", "blocks")


def released_taps(encoder: Encoder, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Return raw outputs of the given blocks as maps [B, D, h, w].

    Args:
        encoder: Wraps a transformer with timm's part names.
        images: Float RGB [B, 3, H, W] in [0, 1].
        layers: 0-based block indices, ascending.

    Raises:
        UsageError: If the encoder is no such transformer.
    """
    model: Any = encoder.backbone
    if any(getattr(model, part, None) is None for part in PARTS):
        raise UsageError(
            f"the released extractor takes transformers with {', '.join(PARTS)}, which "
            f"{type(model).__name__} is not; use --recipe paper"
        )
    x = encoder.prepare(images)
    grid = [side // encoder.patch_size for side in x.shape[-2:]]
    tokens = model.patch_embed(x)
    tokens = tokens.flatten(1, 2) if tokens.ndim == 4 else tokens  # [B, h*w, D]
    tokens = _with_positions(model, tokens, grid)
    maps = []
    for index, block in enumerate(model.blocks):
        tokens = block(tokens)
        if index in layers:
            maps.append(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
    return maps


def _with_positions(model: Any, patches: Tensor, grid: list[int]) -> Tensor:
    """Return [B, 1 + h*w, D]: class token first, absolute positions added where there are any."""
    cls = model.cls_token.expand(len(patches), -1, -1)
    if getattr(model, "pos_embed", None) is None:
        return torch.cat([cls, patches], dim=1)
    patches_only = bool(getattr(model, "no_embed_class", False))
    positions = resample_abs_pos_embed(
        model.pos_embed, new_size=grid, num_prefix_tokens=0 if patches_only else 1
    )
    if patches_only:
        return torch.cat([cls, patches + positions], dim=1)
    tokens: Tensor = torch.cat([cls, patches], dim=1) + positions
    return tokens
