"""The labels of a split, and what is stored of predictions on it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnibench.errors import IntegrityError, RunFailed
from omnibench.interfaces import Dataset
from omnibench.loading import check_identity, labels


class Labels(NamedTuple):
    """What is known of one split without its images."""

    labels: Tensor  # int64 [N]
    ids: np.ndarray[Any, Any]  # int64 [N]
    groups: np.ndarray[Any, Any] | None  # int64 [N]


def read_labels(dataset: Dataset, split: str) -> Labels:
    """Read labels, ids and groups of a split.

    Raises:
        IntegrityError: If a label is outside the declared classes, or ids are not in order.
    """
    source = dataset.split(split)
    y = labels(source)
    if bool(((y < 0) | (y >= len(dataset.classes))).any()):
        raise IntegrityError(
            f"split {split!r} of {dataset.name!r} has labels from {int(y.min())} to "
            f"{int(y.max())}, but {len(dataset.classes)} classes are declared; check the file"
        )
    check_identity(source)
    return Labels(y, source.ids, source.groups)


def prediction_arrays(
    split: str, samples: Labels, scores: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """Name what is stored of one split: ids, scores [N, C], labels and, where known, groups.

    Raises:
        RunFailed: If a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise RunFailed(
            f"predictions on {split!r} are not finite; try a smaller --set lr=…, or "
            "--precision fp32",
            kind="nan_scores",
        )
    arrays = {"id": samples.ids, "score": scores, "label": samples.labels.numpy()}
    if samples.groups is not None:
        arrays["group"] = samples.groups
    return {f"{split}_{name}": value for name, value in arrays.items()}


def softmax(logits: Tensor) -> np.ndarray[Any, Any]:
    """Return softmax scores as float64 [N, C].

    In float32 every probability within 6e-8 of 1 is the same number, and its ties cost AUC.
    """
    scores: np.ndarray[Any, Any] = torch.softmax(logits.double(), dim=1).numpy()
    return scores
