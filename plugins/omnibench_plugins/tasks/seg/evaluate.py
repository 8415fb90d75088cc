"""Pixel counts of a split, on the model's grid and on each mask's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnibench.forward import chunks
from omnibench.interfaces import RunContext
from omnibench.training import autocast
from omnibench_plugins.tasks.seg.inputs import Inputs
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.samples import Samples

Ints = np.ndarray[Any, Any]


class Evaluation(NamedTuple):
    """What a pass over one split finds."""

    counts: Ints  # int64 [N, C, 4] on the model's grid
    native_counts: Ints  # int64 [N, C, 4] on each mask's own grid
    maps: Ints  # predicted classes, uint8 [N, S, S]
    images_per_second: float  # encoder included, counting excluded


class _Chunk(NamedTuple):
    """Predictions of a few samples."""

    rows: Tensor  # indices [b]
    logits: Tensor  # [b, C, S, S]
    maps: Ints  # predicted classes, uint8 [b, S, S]
    counts: Ints  # int64 [b, C, 4] on the model's grid
    seconds: float  # until the maps were here


def grid_counts(inputs: Inputs, name: str, samples: Samples, context: RunContext) -> Ints:
    """Return int64 [N, C, 4] of a split on the model's grid."""
    return np.concatenate([chunk.counts for chunk in _predicted(inputs, name, samples, context)])


def evaluate(inputs: Inputs, name: str, samples: Samples, context: RunContext) -> Evaluation:
    """Predict a split and count on both grids (mixed precision as in training)."""
    context.progress.start(f"predicting {name} images", len(samples))
    counts, native, maps = [], [], []
    seconds = 0.0
    for chunk in _predicted(inputs, name, samples, context):
        counts.append(chunk.counts)
        maps.append(chunk.maps)
        seconds += chunk.seconds
        for sample, logits in zip(chunk.rows.tolist(), chunk.logits, strict=True):
            native.append(_native_counts(logits, samples.native_mask(sample)))
        context.progress.advance(len(chunk.rows))
    return Evaluation(
        counts=np.concatenate(counts),
        native_counts=np.stack(native),
        maps=np.concatenate(maps),
        images_per_second=len(samples) / seconds,
    )


@torch.no_grad()
def _predicted(
    inputs: Inputs, name: str, samples: Samples, context: RunContext
) -> Iterator[_Chunk]:
    """Predict a split chunk by chunk."""
    for part, filled in chunks(torch.arange(len(samples))):
        start = time.perf_counter()
        with autocast(context):
            logits = inputs.logits(name, filled)[: len(part)]
        predicted = logits.argmax(dim=1)
        maps = predicted.to(torch.uint8).cpu().numpy()  # waits for the device
        seconds = time.perf_counter() - start
        masks = samples.masks[part].to(logits.device)
        counts = pixel_counts(predicted, masks, logits.shape[1])
        yield _Chunk(part, logits, maps, counts, seconds)


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
