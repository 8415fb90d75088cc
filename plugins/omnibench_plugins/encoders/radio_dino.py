"""Radio DINO: DINO pretrained on RadImageNet (not NVIDIA's RADIO, not Microsoft's RAD-DINO)."""

from omnibench_plugins.encoders.cards import vit_card

CARDS = [
    vit_card(
        f"radio-dino-{size}",
        f"vit_{size}_patch16_224.dino",
        f"Snarcy/RadioDino-{letter}16",
        embed_dim=width,
        patch_size=16,
        family="Radio DINO",
        licence="CC-BY-4.0",
        commercial=True,
        paper="Radio DINO",
        notes=note,
    )
    for size, letter, width, note in (
        ("small", "s", 384, "the GitHub LICENSE file says MIT, the model page CC-BY-4.0"),
        ("base", "b", 768, "licence as on the small model's page; the base page was not seen"),
    )
]
