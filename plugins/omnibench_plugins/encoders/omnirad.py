"""OmniRad: ViTs of DINOv2's shape pretrained on RadImageNet at 224 px (OmniRad, Sec. 3.1).

`omnirad-nano` is ours: small enough to ship, and the only encoder that needs no download.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnibench.cards import EncoderSpec
from omnibench.errors import IntegrityError
from omnibench_plugins.encoders.cards import BLOCK_LINEARS, vit_card

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from omnibench.encoder import Encoder

# config.json of OmniRad-base declares cc-by-nc-4.0 while the model page shows no licence tag
# (encoder notes, L1): the stricter reading is taken.
NOTE = (
    "licence as declared in config.json; position grid 16x16 (224 px). A --weights file keeps "
    "its own grid, so that nothing is resampled on loading"
)

NANO_NOTE = (
    "ours, not the paper's: DINOv2-S distilled into its first three blocks on 6577 public "
    "radiology images at 56 px; shipped, trained on a CPU. Card: omnirad/omnirad/weights/nano"
)
# Stands here so that outputs kept on disk, which are keyed on this file, follow the weights.
NANO_SHA256 = "a8d15b59521b3edcee74c9850f9316c6007868cfc62d0123c0268a2d08dbde11"


def build_nano(*, weights: Path | None = None, random_init: bool = False) -> Encoder:
    """Build omnirad-nano with its shipped weights, a file's, or random ones."""
    from omnibench.weights import sha256_of
    from omnibench_plugins.encoders.timm_encoder import TimmEncoder
    from omnibench_plugins.encoders.timm_files import load_file
    from omnirad.architectures import ARCHITECTURES
    from omnirad.model import create_model
    from omnirad.weights import SHIPPED, TENSORS

    def make(file_side: int | None) -> nn.Module:
        side = file_side or ARCHITECTURES["nano"].img_size
        model: nn.Module = create_model("nano", None, img_size=side, dynamic_img_size=True)
        return model

    if random_init:
        return TimmEncoder(make(None))
    path = weights or SHIPPED / "nano" / TENSORS
    if weights is None and sha256_of(path) != NANO_SHA256:
        raise IntegrityError(f"{path} is not the file that this version ships; install it again")
    return TimmEncoder(load_file(make, path))


NANO = EncoderSpec(
    name="omnirad-nano",
    build=build_nano,
    embed_dim=384,
    patch_size=14,
    depth=3,
    family="OmniRad",
    licence="Apache-2.0",
    commercial=True,
    paper="DINOv2",
    notes=NANO_NOTE,
    lora_targets=BLOCK_LINEARS,
)

PUBLISHED = [
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

CARDS = [NANO, *PUBLISHED]
