"""The three sizes: Vision Transformers of DINOv2's shape under timm's names (OmniRad, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omnirad.errors import UsageError

Size = Literal["small", "base", "nano"]
PATCH = 14  # pixels
MEAN = (0.485, 0.456, 0.406)  # ImageNet's, unstated: the published config.json
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What timm needs to build an encoder; `embed_dim`, `depth`, `num_heads` in timm's words."""

    timm_name: str
    img_size: int  # pixels; fixes the grid of the position table
    embed_dim: int
    depth: int
    num_heads: int
    customised: bool = False  # not the geometry that timm's name stands for


ARCHITECTURES: dict[str, Architecture] = {
    "small": Architecture(
        timm_name="vit_small_patch14_dinov2", img_size=224, embed_dim=384, depth=12, num_heads=6
    ),
    "base": Architecture(
        timm_name="vit_base_patch14_dinov2", img_size=224, embed_dim=768, depth=12, num_heads=12
    ),
    # Ours: DINOv2-S cut after three blocks, 5.6 M parameters, to be trained on a CPU and to ship
    # inside the package.
    "nano": Architecture(
        timm_name="vit_small_patch14_dinov2",
        img_size=56,
        embed_dim=384,
        depth=3,
        num_heads=6,
        customised=True,
    ),
}


def architecture(size: str) -> Architecture:
    """Return the geometry of a size.

    Raises:
        UsageError: If there is no such size.
    """
    if size not in ARCHITECTURES:
        raise UsageError(f"there is no size {size!r}; use one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[size]


def require_image_size(img_size: int) -> None:
    """Raise `UsageError` unless patches tile the image."""
    if img_size < PATCH or img_size % PATCH:
        near = max(PATCH, round(img_size / PATCH) * PATCH)
        raise UsageError(
            f"image size {img_size} is not a multiple of the patch size {PATCH}; use {near}"
        )
