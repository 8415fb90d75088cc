"""Pixel counts of a split, on the model's grid and on each mask's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnibench.errors import RunFailed
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
    shown: Ints  # predicted classes of the samples asked for, uint8 [n, S, S]
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


def evaluate(
    inputs: Inputs, name: str, samples: Samples, context: RunContext, shown: Ints
) -> Evaluation:
    """Predict a split and count on both grids (mixed precision as in training).

    Args:
        inputs: Ways to the logits.
        name: Of the split.
        samples: The split.
        context: Device, precision, progress.
        shown: Ascending positions of samples whose predicted maps are kept.
    """
    context.progress.start(f"predicting {name} images", len(samples))
    counts, native, maps = [], [], []
    seconds = inputs.encoding_seconds(name)
    for chunk in _predicted(inputs, name, samples, context):
        counts.append(chunk.counts)
        maps.append(chunk.maps[np.isin(chunk.rows, shown)])
        seconds += chunk.seconds
        for sample, logits in zip(chunk.rows.tolist(), chunk.logits, strict=True):
            native.append(_native_counts(logits, samples.native_mask(sample)))
        context.progress.advance(len(chunk.rows))
    return Evaluation(
        counts=np.concatenate(counts),
        native_counts=np.stack(native),
        shown=np.concatenate(maps),
        images_per_second=len(samples) / seconds,
    )


@torch.inference_mode()
def _predicted(
    inputs: Inputs, name: str, samples: Samples, context: RunContext
) -> Iterator[_Chunk]:
    """Predict a split chunk by chunk."""
    for part, filled in chunks(torch.arange(len(samples))):
        start = time.perf_counter()
        with autocast(context):
            logits = inputs.logits(name, filled)[: len(part)]
        if not bool(torch.isfinite(logits).all()):  # else they would be counted as class 0
            raise RunFailed(
                f"the model predicts values that are not finite for {name} images; try a smaller "
                "--set lr=…, or --precision fp32",
                kind="nan_loss",
            )
        predicted = top_class(logits)
        maps = predicted.cpu().numpy()  # waits for the device
        seconds = time.perf_counter() - start
        masks = samples.masks[part].to(logits.device)
        counts = pixel_counts(predicted, masks, logits.shape[1])
        yield _Chunk(part, logits, maps, counts, seconds)


def _native_counts(logits: Tensor, mask: Tensor) -> Ints:
    """Return int64 [C, 4] of logits [C, S, S], resized to a mask [H, W]."""
    resized = resize(logits[None].float(), mask.shape)
    counts = pixel_counts(top_class(resized), mask[None].to(logits.device), len(logits))
    one: Ints = counts[0]
    return one


def top_class(logits: Tensor) -> Tensor:
    """Return the class of the largest logit, the first of equals: uint8 [B, H, W].

    A maximum that runs over the classes [B, C, H, W] reads memory in order, which `argmax` over
    the second dimension does not.
    """
    found = (logits[:, 1] > logits[:, 0]).to(torch.uint8)
    best = logits[:, 0]
    for number in range(2, logits.shape[1]):
        # Written over the first maximum: a fresh map each time costs more than the comparison.
        out = None if number == 2 else best
        best = torch.maximum(best, logits[:, number - 1], out=out)
        found.masked_fill_(logits[:, number] > best, number)
    return found


def pixel_counts(predicted: Tensor, reference: Tensor, classes: int) -> Ints:
    """Return int64 [B, C, 4]: true positive, false positive, false negative, true negative.

    Args:
        predicted: Class indices [B, H, W].
        reference: Class indices [B, H, W] of any integer type.
        classes: Number of classes C.

    Raises:
        ValueError: If the reference holds another class.
    """
    if int(reference.max()) >= classes:
        raise ValueError(f"the reference holds class {int(reference.max())} of {classes}")
    # One byte a pixel as long as every pair of classes has a number below 256.
    kind = torch.uint8 if classes <= 16 else torch.int64
    pairs = torch.add(predicted.flatten(1).to(kind), reference.flatten(1).to(kind), alpha=classes)
    table = torch.stack([p.bincount(minlength=classes**2) for p in pairs])
    confusion = table.reshape(-1, classes, classes)  # [B, reference, predicted]
    tp = confusion.diagonal(dim1=1, dim2=2)
    fp, fn = confusion.sum(dim=1) - tp, confusion.sum(dim=2) - tp
    tn = confusion.sum(dim=(1, 2))[:, None] - tp - fp - fn
    counts: Ints = torch.stack([tp, fp, fn, tn], dim=2).cpu().numpy()
    return counts
