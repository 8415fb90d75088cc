"""Cards of encoders that timm builds; importing this imports no torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from omnibench.cards import EncoderSpec, HubFile

if TYPE_CHECKING:
    from pathlib import Path

    from omnibench.encoder import Encoder

# The 48 linear layers of 12 blocks that "LoRA on attention and MLP" means (OmniRad, Sec. 4.3).
# Anchored to the blocks: a bare "proj" would also adapt the patch embedding.
BLOCK_LINEARS = r"(?:.*\.)?blocks\.\d+\.(?:attn\.(?:qkv|proj)|mlp\.fc[12])"


def vit_card(
    name: str,
    arch: str,
    repo: str,
    *,
    embed_dim: int,
    patch_size: int,
    img_size: int | None = None,
    licence_url: str = "",
    **facts: Any,
) -> EncoderSpec:
    """Return the card of a 12-block transformer in timm's format.

    Args:
        name: As typed.
        arch: timm's name with its tag, which carries mean, standard deviation and native size.
        repo: Hub repository that has `model.safetensors`. Nobody has seen its revision here, so
            the first download pins it.
        embed_dim: Token width D.
        patch_size: Pixels.
        img_size: Native side in pixels, where it is not the architecture's own.
        licence_url: Text of a licence that has no short name.
        facts: Further fields of the card.
    """
    return EncoderSpec(
        name=name,
        build=partial(build_timm, arch, img_size=img_size),
        embed_dim=embed_dim,
        patch_size=patch_size,
        depth=12,
        source=HubFile(repo=repo, licence_url=licence_url),
        licence_url=licence_url,
        lora_targets=BLOCK_LINEARS,
        **facts,
    )


def build_timm(
    arch: str, *, weights: Path | None = None, random_init: bool = False, img_size: int | None
) -> Encoder:
    """Build a timm encoder; torch and timm are imported here and not before."""
    from omnibench_plugins.encoders.timm_encoder import build

    return build(arch, weights=weights, random_init=random_init, img_size=img_size)
