"""U-Nets with CNN encoders, trained from scratch: MedSegBench's baselines (extra `cnn`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from omnibench.cards import EncoderSpec
from omnibench.errors import SetupError

if TYPE_CHECKING:
    from torch import nn

# name as typed, name in segmentation_models_pytorch
ENCODERS = (
    ("resnet18", "resnet18"),
    ("resnet50", "resnet50"),
    ("efficientnet-b0", "efficientnet-b0"),
    ("mobilenet-v2", "mobilenet_v2"),
    ("densenet121", "densenet121"),
)


def build_unet(encoder_name: str, *, classes: int) -> nn.Module:
    """Return a U-Net: images [B, 3, H, W] in [0, 1] to logits [B, classes, H, W].

    Images are not normalised, as in MedSegBench's training scripts.

    H and W must be multiples of 32. Parameters are drawn from torch's global generator.

    Raises:
        SetupError: If the extra `cnn` is not installed.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise SetupError(
            "U-Nets need segmentation_models_pytorch; run pip install 'omnibench[cnn]'"
        ) from error
    network: nn.Module = smp.Unet(
        encoder_name, encoder_weights=None, in_channels=3, classes=classes
    )
    return network


CARDS = [
    EncoderSpec(
        name=f"unet-{name}",
        build_end_to_end=partial(build_unet, smp_name),
        end_to_end=True,
        patch_size=32,
        depth=5,
        family="U-Net",
        licence="MIT",
        commercial=True,
        paper="MedSegBench",
        notes="trained from scratch; segmentation only; needs the extra cnn",
    )
    for name, smp_name in ENCODERS
]
