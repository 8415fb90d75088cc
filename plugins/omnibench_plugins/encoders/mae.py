"""MAE (He et al., 2021), patch 16, pretrained on ImageNet-1k."""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        "mae-base",
        "vit_base_patch16_224.mae",
        "timm/vit_base_patch16_224.mae",
        embed_dim=768,
        patch_size=16,
        family="MAE",
        licence="CC-BY-NC-4.0",
        commercial=False,
        paper="arXiv:2111.06377",
        notes="facebook/vit-mae-base shows Apache-2.0 for the same family; the stricter is kept",
    )
]
