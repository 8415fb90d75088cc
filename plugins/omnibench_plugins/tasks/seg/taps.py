"""Maps that segmentation reads off a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from omnibench.encoder import Encoder
from omnibench.features.readings import Reading
from omnibench.features.rows import Layout
from omnibench_plugins.tasks.seg.model import SCALES, Source
from omnibench_plugins.tasks.seg.released import released_taps


def tapped(encoder: Encoder) -> tuple[int, ...]:
    """Return the blocks that are read, earliest first."""
    return encoder.dense_layers[-SCALES:]


def _own(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    return _named(encoder.intermediates(images, tapped(encoder)))


def _released(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    return _named(released_taps(encoder, images, tapped(encoder)))


# By the recipe's `extractor`: maps [C, h, w] named 0, 1 and 2, earliest block first.
TAPS = {
    "timm": Reading("taps", _own, mixed_precision=True),
    "released": Reading("taps of the released loop", _released, mixed_precision=True),
}


def source_of(
    layout: Layout, embed_dim: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Source:
    """Return what the modules must know of an encoder with these taps."""
    return Source(embed_dim, tuple(column.shape[0] for column in layout), mean, std)


def _named(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(number): found for number, found in enumerate(maps)}
