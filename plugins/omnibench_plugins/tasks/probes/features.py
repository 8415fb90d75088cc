"""Frozen features of whole splits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from omnibench.encoder import Encoder
from omnibench.forward import flops_per_image, in_chunks, parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.interfaces import SPLITS, Dataset, RunContext
from omnibench_plugins.tasks.cls.samples import Samples, read_samples
from omnibench_plugins.tasks.probes.recipe import Chosen, ProbeRecipe

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Extracted(NamedTuple):
    """Features of all splits and what they cost."""

    samples: dict[str, Samples]
    features: dict[str, Floats]  # float64 [N, D] a split
    params: int
    flops_per_image: int
    images_per_second: float


class _Reader(nn.Module):
    """An encoder that gives one vector an image."""

    def __init__(self, encoder: Encoder, chosen: Chosen) -> None:
        super().__init__()
        self.encoder = encoder
        self.chosen = chosen

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, S, S] in [0, 1] to features [B, D]."""
        found = self.encoder(images)
        parts = {"pooled": found.pooled, "mean": found.tokens.mean(dim=1)}
        return torch.cat([parts[name] for name in self.chosen.split("+")], dim=1)


def extract(
    handle: EncoderHandle, dataset: Dataset, recipe: ProbeRecipe, context: RunContext
) -> Extracted:
    """Encode every image once, with the encoder frozen."""
    encoder = handle.build(normalization=recipe.normalization, pool=recipe.pool).freeze()
    reader = _Reader(encoder, recipe.features).to(context.device)
    flops = flops_per_image(reader, recipe.image_size, context.device)
    samples, features, speed = {}, {}, 0.0
    for split in SPLITS:
        samples[split] = read_samples(dataset, split, recipe.image_size, context.progress)
        found, speed = in_chunks(reader, samples[split].images, context, f"encoding {split}")
        features[split] = found.double().numpy()
    return Extracted(samples, features, parameter_counts(encoder).total, flops, speed)
