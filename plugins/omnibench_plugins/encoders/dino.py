"""DINO (Caron et al., 2021), patch 16, pretrained on ImageNet-1k."""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        f"dino-{size}",
        f"vit_{size}_patch16_224.dino",
        f"timm/vit_{size}_patch16_224.dino",
        embed_dim=width,
        patch_size=16,
        family="DINO",
        licence="Apache-2.0",
        commercial=True,
        paper="arXiv:2104.14294",
    )
    for size, width in (("small", 384), ("base", 768))
]
