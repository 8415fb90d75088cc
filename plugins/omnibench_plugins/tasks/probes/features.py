"""Frozen features of whole splits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from omnibench.cards import SPLITS
from omnibench.features.readings import POOLED, require_pool
from omnibench.features.rows import images_per_second
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, RunContext
from omnibench_plugins.tasks.cls.samples import Labels, read_labels
from omnibench_plugins.tasks.probes.recipe import ProbeRecipe

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Extracted(NamedTuple):
    """Features of all splits and what they cost."""

    samples: dict[str, Labels]
    features: dict[str, Floats]  # float64 [N, D] a split
    params: int
    flops_per_image: int
    images_per_second: float | None


def extract(
    handle: EncoderHandle, dataset: Dataset, recipe: ProbeRecipe, context: RunContext
) -> Extracted:
    """Encode every image once, with the encoder frozen, or read what was encoded before."""
    source = handle.features(
        POOLED,
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=True,
        device=context.device,
        precision=context.precision,
    )
    facts = source.facts
    if "pool" not in recipe.idle:
        require_pool(facts.layout.names, recipe.pool)
    columns = [{"pooled": recipe.pool, "mean": "avg"}[name] for name in recipe.features.split("+")]
    samples, features, speed = {}, {}, None
    for split in SPLITS:
        samples[split] = read_labels(dataset, split)
        rows = source.of(dataset, split, context.progress)
        found = rows.read(torch.arange(len(rows)))
        features[split] = torch.cat([found[name] for name in columns], dim=1).double().numpy()
        speed = images_per_second(rows)
    return Extracted(samples, features, facts.params, facts.flops_per_image, speed)
