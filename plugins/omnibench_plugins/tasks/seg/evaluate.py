"""Pixel counts of a split, on the model's grid and on each mask's own."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnibench.interfaces import RunContext
from omnibench.loading import index_batches
from omnibench.training import autocast
from omnibench_plugins.tasks.seg.inputs import Inputs
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.samples import Samples

BATCH = 16  # images; results do not depend on it

Ints = np.ndarray[Any, Any]


class Evaluation(NamedTuple):
    """What a pass over one split finds."""

    counts: Ints  # int64 [N, C, 4] on the model's grid
    native_counts: Ints  # int64 [N, C, 4] on each mask's own grid
    maps: Ints  # predicted classes, uint8 [N, S, S]
    images_per_second: float  # encoder included, counting excluded


@torch.no_grad()
def grid_counts(inputs: Inputs, name: str, samples: Samples, context: RunContext) -> Ints:
    """Return int64 [N, C, 4] of a split on the model's grid."""
    parts = []
    for index in index_batches(len(samples), BATCH):
        with autocast(context):
            logits = inputs.logits(name, index)
        masks = samples.masks[index].to(logits.device)
        parts.append(pixel_counts(logits.argmax(dim=1), masks, logits.shape[1]))
    return np.concatenate(parts)


@torch.no_grad()
def evaluate(inputs: Inputs, name: str, samples: Samples, context: RunContext) -> Evaluation:
    """Predict a split and count on both grids (mixed precision as in training)."""
    context.progress.start(f"predicting {name} images", len(samples))
    grid, native, maps = [], [], []
    seconds = 0.0
    for index in index_batches(len(samples), BATCH):
        start = time.perf_counter()
        with autocast(context):
            logits = inputs.logits(name, index)
        predicted = logits.argmax(dim=1)
        maps.append(predicted.to(torch.uint8).cpu().numpy())  # waits for the device
        seconds += time.perf_counter() - start
        masks = samples.masks[index].to(logits.device)
        grid.append(pixel_counts(predicted, masks, logits.shape[1]))
        for row, sample in enumerate(index.tolist()):
            native.append(_native_counts(logits[row], samples.native_mask(sample)))
        context.progress.advance(len(index))
    return Evaluation(
        counts=np.concatenate(grid),
        native_counts=np.stack(native),
        maps=np.concatenate(maps),
        images_per_second=len(samples) / seconds,
    )


def _native_counts(logits: Tensor, mask: Tensor) -> Ints:
    """Return int64 [C, 4] of logits [C, S, S], resized to a mask [H, W]."""
    resized = resize(logits[None].float(), mask.shape)
    counts = pixel_counts(resized.argmax(dim=1), mask[None].to(logits.device), len(logits))
    one: Ints = counts[0]
    return one


def pixel_counts(predicted: Tensor, reference: Tensor, classes: int) -> Ints:
    """Return int64 [B, C, 4]: true positive, false positive, false negative, true negative.

    Args:
        predicted: Class indices [B, H, W].
        reference: Class indices [B, H, W] of any integer type.
        classes: Number of classes C; reference values beyond it are an error.
    """
    pairs = reference.flatten(1).long() * classes + predicted.flatten(1)
    table = torch.stack([p.bincount(minlength=classes**2) for p in pairs])
    confusion = table.reshape(-1, classes, classes)  # [B, reference, predicted]
    tp = confusion.diagonal(dim1=1, dim2=2)
    fp, fn = confusion.sum(dim=1) - tp, confusion.sum(dim=2) - tp
    tn = confusion.sum(dim=(1, 2))[:, None] - tp - fp - fn
    counts: Ints = torch.stack([tp, fp, fn, tn], dim=2).cpu().numpy()
    return counts
