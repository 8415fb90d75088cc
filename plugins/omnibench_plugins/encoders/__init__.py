"""The built-in encoders; importing this imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from omnibench.cards import EncoderPrefix, EncoderSpec
from omnibench.hookspecs import hookimpl
from omnibench_plugins.encoders import (
    clip,
    dino,
    dinov2,
    dinov3,
    mae,
    omnirad,
    radio_dino,
    references,
    unet,
    vit,
)


@hookimpl
def omnibench_encoders() -> Iterable[EncoderSpec | EncoderPrefix]:
    """Return the encoders of the paper, its CNN baselines, and references to other models."""
    families = (omnirad, radio_dino, dino, dinov2, dinov3, clip, mae, vit, unet)
    return [*(card for family in families for card in family.CARDS), *references.PREFIXES]
