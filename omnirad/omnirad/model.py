"""Builds the encoder as timm's VisionTransformer, so that its keys are everyone's."""

from __future__ import annotations

import os
from typing import cast

import timm
from timm.models.vision_transformer import VisionTransformer

from omnirad.architectures import architecture, require_image_size
from omnirad.weights import load_encoder, locate, read_state


def create_model(
    size: str,
    weights: str | os.PathLike[str] | None = "default",
    *,
    img_size: int | None = None,
    dynamic_img_size: bool = False,
    layer_scale: float = 1.0,
    antialias: bool = True,
) -> VisionTransformer:
    """Build an OmniRad encoder: images [B, 3, S, S], ImageNet-normalised, to class tokens [B, D].

    Args:
        size: `small`, `base` (224 px) or `nano` (56 px).
        weights: `default` (the published ones; for nano those shipped with the package), a file,
            an exported or downloaded folder, `published`, `dinov2`, `shipped`; None for random.
        img_size: Pixels that the position table is resampled to; default the size's own.
        dynamic_img_size: Accept any multiple of 14 at run time.
        layer_scale: Initial gamma of random weights. At the training recipe's 1e-5 an untrained
            encoder gives every image the same class token, which flatters what it is compared with.
        antialias: Whether resampling of loaded positions is antialiased.

    Raises:
        UsageError: If there is no such size, or patches do not tile the image.
        SetupError: If the weights cannot be had.
        IntegrityError: If they are damaged or of another architecture.
    """
    kind = architecture(size)
    img_size = kind.img_size if img_size is None else img_size
    require_image_size(img_size)
    if weights == "default":
        weights = "shipped" if size == "nano" else "published"
    path = None if weights is None else locate(weights, size)
    encoder = cast(
        VisionTransformer,
        timm.create_model(
            kind.timm_name,
            pretrained=False,
            num_classes=0,
            img_size=img_size,
            embed_dim=kind.embed_dim,
            depth=kind.depth,
            num_heads=kind.num_heads,
            init_values=layer_scale,
            dynamic_img_size=dynamic_img_size,
        ),
    )
    if path is not None:
        load_encoder(encoder, read_state(path), path, antialias=antialias)
    return encoder
