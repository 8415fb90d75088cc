"""DINOv3 (Siméoni et al., 2025), patch 16, rotary positions, four registers.

timm's variant without q/k/v biases: the released biases are all zero, and with the other
variant's way of calling the projection LoRA adapters stay inert.
"""

from omnibench_plugins.encoders.cards import vit_card

LICENCE_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"

CARDS = [
    vit_card(
        f"dinov3-{size}",
        f"vit_{size}_patch16_dinov3.lvd1689m",
        f"timm/vit_{size}_patch16_dinov3.lvd1689m",
        embed_dim=width,
        patch_size=16,
        licence_url=LICENCE_URL,
        family="DINOv3",
        licence="DINOv3 License",
        commercial=None,
        paper="arXiv:2508.10104",
        notes=(
            "custom licence, which binds here too although only facebook's own repository is "
            "gated; pool=checkpoint is the mean of the patches"
        ),
    )
    for size, width in (("small", 384), ("base", 768))
]
