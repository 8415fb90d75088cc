"""OmniRad: ViTs of DINOv2's shape pretrained on RadImageNet at 224 px (OmniRad, Sec. 3.1)."""

from omnibench_plugins.encoders.cards import vit_card

# config.json of OmniRad-base declares cc-by-nc-4.0 while the model page shows no licence tag
# (encoder notes, L1): the stricter reading is taken.
NOTE = (
    "licence as declared in config.json; position grid 16x16 (224 px). A --weights file keeps "
    "its own grid, so that nothing is resampled on loading"
)

CARDS = [
    vit_card(
        f"omnirad-{size}",
        f"vit_{size}_patch14_dinov2",
        f"Snarcy/OmniRad-{size}",
        embed_dim=width,
        patch_size=14,
        img_size=224,
        family="OmniRad",
        licence="CC-BY-NC-4.0",
        commercial=False,
        paper="OmniRad",
        notes=NOTE,
    )
    for size, width in (("small", 384), ("base", 768))
]
