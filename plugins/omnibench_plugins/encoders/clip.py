"""CLIP image towers, ViT-B/16: two models that papers both call "CLIP base".

OmniRad's segmentation uses the LAION-2B one, its captioning the OpenAI one (released
configuration files). The OpenAI weights need QuickGELU.
"""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        "clip-base",
        "vit_base_patch16_clip_224.laion2b",
        "timm/vit_base_patch16_clip_224.laion2b",
        embed_dim=768,
        patch_size=16,
        family="CLIP",
        licence="MIT",
        commercial=True,
        paper="arXiv:2212.07143",
        notes="LAION-2B; MIT on LAION's own page, Apache-2.0 in timm's configuration",
    ),
    vit_card(
        "clip-base-openai",
        "vit_base_patch16_clip_quickgelu_224.openai",
        "timm/vit_base_patch16_clip_224.openai",
        embed_dim=768,
        patch_size=16,
        family="CLIP",
        licence="Apache-2.0",
        commercial=True,
        paper="arXiv:2103.00020",
        notes="OpenAI's weights; Apache-2.0 in timm's configuration, MIT for OpenAI's code",
    ),
]
