"""Nearest-neighbour votes and what they are worth, with intervals over the images asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 20
TEMPERATURE = 0.07
RESAMPLES = 2000
LEVEL = 0.95
METRICS = ("accuracy", "balanced_accuracy", "auc")
ROWS = 256  # queries at a time; bounds the memory

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Interval(NamedTuple):
    """A value and its percentile interval."""

    value: float
    low: float
    high: float


def vote(queries: Tensor, bank: Tensor, labels: Tensor, classes: int) -> Floats:
    """Let the 20 nearest images vote with weights exp(cosine / 0.07) (Caron et al. 2021).

    Args:
        queries: Features [M, D].
        bank: Features of labelled images [N, D].
        labels: Their classes, int64 [N].
        classes: C.

    Returns:
        Shares of the votes [M, C]; rows sum to 1.
    """
    q, b = F.normalize(queries.double(), dim=1), F.normalize(bank.double(), dim=1)
    parts = []
    for rows in torch.split(q, ROWS):
        cosines, nearest = (rows @ b.T).topk(min(NEIGHBOURS, len(b)), dim=1)
        weights = torch.softmax(cosines / TEMPERATURE, dim=1)
        empty = torch.zeros(len(rows), classes, dtype=weights.dtype)
        parts.append(empty.scatter_add_(1, labels[nearest], weights))
    return torch.cat(parts).numpy()


def scores(votes: Floats, labels: Ints) -> dict[str, float]:
    """Return accuracy, balanced accuracy and AUC (of several classes: mean of one against rest)."""
    whole = np.arange(len(labels))[None]
    return {name: float(values[0]) for name, values in resampled(votes, labels, whole).items()}


def resampled(votes: Floats, labels: Ints, indices: Ints) -> dict[str, Floats]:
    """Return the metrics of several selections of images.

    Args:
        votes: [M, C].
        labels: [M].
        indices: Selections [R, M].

    Returns:
        By metric [R]; not a number where a selection lacks a class.
    """
    right, truth = (votes.argmax(axis=1) == labels)[indices], labels[indices]
    present = np.unique(labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = [(right & (truth == c)).sum(axis=1) / (truth == c).sum(axis=1) for c in present]
        areas = [_auc(votes[:, c][indices], truth == c) for c in _judged(present)]
    return {
        "accuracy": right.mean(axis=1),
        "balanced_accuracy": np.mean(recalls, axis=0),
        "auc": np.mean(areas, axis=0),
    }


def intervals(votes: Mapping[str, Floats], labels: Ints) -> dict[str, dict[str, Interval]]:
    """Return every metric of every candidate, and `first - other` for all others, with intervals.

    All candidates see the same 2000 resamples of the images, so that differences are paired.

    Args:
        votes: By candidate [M, C]; the first is compared with the others.
        labels: [M].
    """
    rng = np.random.default_rng(0)
    indices = rng.integers(len(labels), size=(RESAMPLES, len(labels)))
    values = {name: scores(each, labels) for name, each in votes.items()}
    drawn = {name: resampled(each, labels, indices) for name, each in votes.items()}
    first, *others = votes
    for other in others:
        name = f"{first} - {other}"
        values[name] = {m: values[first][m] - values[other][m] for m in METRICS}
        drawn[name] = {m: drawn[first][m] - drawn[other][m] for m in METRICS}
    return {
        name: {m: _interval(values[name][m], drawn[name][m]) for m in METRICS} for name in values
    }


def _interval(value: float, drawn: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def _judged(present: Ints) -> Ints:
    """Return the classes whose AUC counts: of two, the second alone."""
    return present[1:] if len(present) == 2 else present


def _auc(score: Floats, positive: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    """Return the share of pairs in order, ties counting half (Mann-Whitney), of each row."""
    ranks, count = rankdata(score, axis=1), positive.sum(axis=1)
    excess = (ranks * positive).sum(axis=1) - count * (count + 1) / 2
    area: Floats = excess / (count * (positive.shape[1] - count))
    return area
