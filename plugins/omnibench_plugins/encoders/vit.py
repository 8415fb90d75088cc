"""ViT (Dosovitskiy et al., 2020), patch 16, ImageNet-21k then ImageNet-1k, with AugReg.

Small and base are different recipes (augreg and augreg2): these are timm's defaults.
"""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        f"vit-{size}",
        f"vit_{size}_patch16_224.{tag}",
        f"timm/vit_{size}_patch16_224.{tag}",
        embed_dim=width,
        patch_size=16,
        family="ViT",
        licence="Apache-2.0",
        commercial=True,
        paper="arXiv:2106.10270",
        notes=f"timm's {tag}",
    )
    for size, tag, width in (
        ("small", "augreg_in21k_ft_in1k", 384),
        ("base", "augreg2_in21k_ft_in1k", 768),
    )
]
