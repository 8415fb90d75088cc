"""DINOv2 (Oquab et al., 2023), patch 14, pretrained on LVD-142M; native size 518 px."""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        f"dinov2-{size}",
        f"vit_{size}_patch14_dinov2.lvd142m",
        f"timm/vit_{size}_patch14_dinov2.lvd142m",
        embed_dim=width,
        patch_size=14,
        family="DINOv2",
        licence="Apache-2.0",
        commercial=True,
        paper="arXiv:2304.07193",
        notes="position grid 37x37 (518 px), resampled once for the size in use",
    )
    for size, width in (("small", 384), ("base", 768))
]
