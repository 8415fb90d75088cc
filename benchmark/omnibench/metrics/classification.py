"""Classification metrics from stored scores (numpy and scipy only).

Notation: N samples, C declared classes. Scores are [N, C], higher means more likely; the
predicted class is the highest score, the lowest index where scores tie.

Ids, as they stand in records:

| id | definition |
|---|---|
| `accuracy` | share of samples whose predicted class is the label |
| `f1_macro` | unweighted mean of per-class F1 over the declared classes, 0 where 0/0; classes that occur neither as label nor as prediction are left out |
| `f1_of_macro_pr` | harmonic mean of macro precision and macro recall over the same classes |
| `balanced_accuracy` | mean recall over the classes that occur as label |
| `auc` | two classes: Mann-Whitney with midranks on the score of class 1 |
| `auc_ovr_macro` | more classes: unweighted mean of one-vs-rest `auc` over all declared classes |
| `auc_ovr_present` | in place of `auc_ovr_macro` where it is undefined: the mean over the classes that have both positive and negative samples |

A metric that the labels do not define is left out, never NaN; `flags_from_scores` says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from omnibench.errors import IntegrityError
from omnibench.interfaces import Metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def metrics_from_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> list[Metric]:
    """Compute every metric that the labels define.

    Args:
        scores: Finite floats [N, C], C >= 2.
        labels: Integers [N] in [0, C).

    Returns:
        Metrics as fractions in [0, 1]; all values finite.

    Raises:
        IntegrityError: If scores or labels are not as described.
    """
    s, y = checked(scores, labels)
    counts = confusion_counts(s.argmax(axis=1), y, s.shape[1])
    return [
        Metric(id="accuracy", value=float(np.trace(counts) / counts.sum())),
        Metric(id="f1_macro", value=f1_macro(counts)),
        Metric(id="f1_of_macro_pr", value=f1_of_macro_pr(counts)),
        Metric(id="balanced_accuracy", value=balanced_accuracy(counts)),
        *_auc_metrics(s, y),
    ]


def flags_from_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Any]:
    """Return what a reader must know beside the metrics.

    Returns:
        `constant_prediction`: one class is predicted for every sample; `classes_absent`: number
        of declared classes that occur neither as label nor as prediction; `auc_classes`:
        number of classes with both positive and negative samples; `flags`: what of it a table
        must say.
    """
    s, y = checked(scores, labels)
    counts = confusion_counts(s.argmax(axis=1), y, s.shape[1])
    constant = int(np.count_nonzero(counts.sum(axis=0))) == 1
    absent = int(np.count_nonzero(~_occurring(counts)))
    flags = ["CONSTANT: some seed predicts one class for every case"] if constant else []
    if absent:
        flags.append(f"ABSENT: {absent} declared classes occur neither as label nor as prediction")
    return {
        "constant_prediction": constant,
        "classes_absent": absent,
        "auc_classes": len(_one_vs_rest(s, y)),
        "flags": flags,
    }


def checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ints]:
    """Return scores as float64 [N, C] and labels as int64 [N], or raise `IntegrityError`."""
    s, y = np.asarray(scores), np.asarray(labels)
    if s.ndim != 2 or s.shape[1] < 2 or len(s) == 0 or y.shape != s.shape[:1]:
        raise IntegrityError(
            f"scores {s.shape} and labels {y.shape} do not fit: scores are [N, C] with at least "
            "one sample and two classes, labels are [N]; make the predictions again"
        )
    if not np.issubdtype(s.dtype, np.floating) or not np.issubdtype(y.dtype, np.integer):
        raise IntegrityError(
            f"scores are {s.dtype} and labels {y.dtype}, floats and integers were expected; "
            "make the predictions again"
        )
    bad = int(np.count_nonzero(~np.isfinite(s)))
    if bad:
        raise IntegrityError(f"{bad} of {s.size} scores are not finite; make them again")
    if y.min() < 0 or y.max() >= s.shape[1]:
        raise IntegrityError(
            f"labels run from {y.min()} to {y.max()}, but the scores have {s.shape[1]} classes "
            f"(0 to {s.shape[1] - 1}); check the dataset's labels"
        )
    return s.astype(np.float64), y.astype(np.int64)


def confusion_counts(predicted: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> Ints:
    """Return counts [C, C]: rows are labels, columns predicted classes."""
    p, y = np.asarray(predicted, dtype=np.int64), np.asarray(labels, dtype=np.int64)
    flat = np.bincount(y * classes + p, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def f1_macro(counts: Ints) -> float:
    """Return the unweighted mean F1 of the classes that occur in counts [C, C]."""
    hits = counts.diagonal()
    both = counts.sum(axis=0) + counts.sum(axis=1)
    here = _occurring(counts)
    return float(np.mean(2 * hits[here] / both[here]))


def f1_of_macro_pr(counts: Ints) -> float:
    """Return the harmonic mean of macro precision and macro recall of counts [C, C]."""
    here = _occurring(counts)
    hits = counts.diagonal()[here]
    precision = float(np.mean(_share(hits, counts.sum(axis=0)[here])))
    recall = float(np.mean(_share(hits, counts.sum(axis=1)[here])))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def balanced_accuracy(counts: Ints) -> float:
    """Return the mean recall of the classes that occur as label in counts [C, C]."""
    support = counts.sum(axis=1)
    here = support > 0
    return float(np.mean(counts.diagonal()[here] / support[here]))


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """Return P(score of a positive > score of a negative), ties counting half.

    Args:
        scores: Floats [N].
        positive: Booleans [N].

    Returns:
        The Mann-Whitney statistic in [0, 1], or None without positives or without negatives.
    """
    n = int(positive.sum())
    m = len(positive) - n
    if n == 0 or m == 0:
        return None
    ranks = rankdata(scores, method="average")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def _auc_metrics(scores: Floats, labels: Ints) -> list[Metric]:
    classes = scores.shape[1]
    if classes == 2:
        value = auc(scores[:, 1], labels == 1)
        return [] if value is None else [Metric(id="auc", value=value)]
    values = _one_vs_rest(scores, labels)
    if not values:
        return []
    name = "auc_ovr_macro" if len(values) == classes else "auc_ovr_present"
    return [Metric(id=name, value=float(np.mean(values)))]


def _one_vs_rest(scores: Floats, labels: Ints) -> list[float]:
    values = [auc(scores[:, c], labels == c) for c in range(scores.shape[1])]
    return [value for value in values if value is not None]


def _occurring(counts: Ints) -> npt.NDArray[np.bool_]:
    """Classes that occur as label or as prediction."""
    here: npt.NDArray[np.bool_] = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return here


def _share(part: Ints, whole: Ints) -> Floats:
    """Return part / whole, 0 where both are 0."""
    return part / np.maximum(whole, 1)
