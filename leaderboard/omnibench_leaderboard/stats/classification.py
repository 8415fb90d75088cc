"""The metrics of `omnibench.metrics.classification` as functions of which cases are drawn.

Totals are confusion counts [..., C * C], labels in rows, predicted classes in columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.stats import rankdata

from omnibench.errors import IntegrityError
from omnibench.metrics.classification import checked
from omnibench_leaderboard.stats.statistic import (
    Bools,
    CaseCounts,
    CaseMeans,
    Floats,
    Ints,
    Statistic,
    mean_ratio,
)

AUC = ("auc", "auc_ovr_macro", "auc_ovr_present")


def from_scores(metric: str, scores: Sequence[Any], labels: npt.ArrayLike) -> Statistic | None:
    """Return the statistic of a metric id, or None for an id that is not one of these.

    Args:
        metric: `accuracy`, `f1_macro`, `f1_of_macro_pr`, `balanced_accuracy` or one of the AUCs.
        scores: For every run, floats [N, C].
        labels: Integers [N].

    Raises:
        IntegrityError: If scores and labels do not fit.
    """
    runs = [checked(each, labels) for each in scores]
    y = runs[0][1]
    predicted = [s.argmax(axis=1) for s, _ in runs]
    if metric == "accuracy":
        return CaseMeans([p == y for p in predicted])
    if metric in AUC:
        return _auc(metric, [s for s, _ in runs], y)
    if metric not in FORMULAS:
        return None
    classes = runs[0][0].shape[1]
    return CaseCounts([_cells(y, p, classes) for p in predicted], FORMULAS[metric])


def _cells(labels: Ints, predicted: Ints, classes: int) -> Any:
    """Return a sparse [N, C * C] matrix with a one in each case's confusion cell."""
    n = len(labels)
    return csr_array(
        (np.ones(n), (np.arange(n), labels * classes + predicted)), shape=(n, classes * classes)
    )


def _confusion(totals: Floats) -> tuple[Floats, Floats, Floats]:
    """Return hits, labels and predictions of every class [..., C]."""
    classes = round(totals.shape[-1] ** 0.5)
    square = totals.reshape(*totals.shape[:-1], classes, classes)
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    return hits, square.sum(axis=-1), square.sum(axis=-2)


def _f1_macro(totals: Floats) -> Floats:
    hits, labels, predictions = _confusion(totals)
    return mean_ratio(2 * hits, labels + predictions)


def _balanced_accuracy(totals: Floats) -> Floats:
    hits, labels, _ = _confusion(totals)
    return mean_ratio(hits, labels)


def _f1_of_macro_pr(totals: Floats) -> Floats:
    hits, labels, predictions = _confusion(totals)
    occurring = (labels + predictions > 0).sum(axis=-1)
    # A class that occurs only on the other side counts 0, so both means have one denominator.
    precision = np.nan_to_num(mean_ratio(hits, predictions)) * (predictions > 0).sum(axis=-1)
    recall = np.nan_to_num(mean_ratio(hits, labels)) * (labels > 0).sum(axis=-1)
    both = (precision + recall) * occurring
    f1: Floats = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return f1


FORMULAS: dict[str, Callable[[Floats], Floats]] = {
    "f1_macro": _f1_macro,
    "f1_of_macro_pr": _f1_of_macro_pr,
    "balanced_accuracy": _balanced_accuracy,
}


def _auc(metric: str, scores: Sequence[Floats], labels: Ints) -> Statistic:
    classes = scores[0].shape[1]
    if (classes == 2) != (metric == "auc"):
        raise IntegrityError(f"{metric} is not the AUC of {classes} classes")
    columns = [1] if classes == 2 else list(range(classes))
    positives = np.stack([labels == c for c in columns])
    present = positives.any(axis=1) & ~positives.all(axis=1)
    if not present.any() or (metric != "auc_ovr_present" and not present.all()):
        raise IntegrityError(f"{metric} is not defined: some class lacks positives or negatives")
    used = np.asarray(columns)[present]
    return Auc([s[:, used].T for s in scores], positives[present])


class Auc(Statistic):
    """Mean over classes of the one-vs-rest Mann-Whitney statistic.

    Args:
        scores: For every run, floats [C, N]; only their order within a class matters.
        positives: Booleans [C, N].
    """

    def __init__(self, scores: Sequence[Floats], positives: Bools) -> None:
        # Ranks instead of scores: what is exchanged between encoders must be on one scale.
        self.ranks = np.stack([rankdata(each, axis=1) for each in scores])  # [S, C, N]
        self.positives = positives
        super().__init__(self.ranks.shape[0], self.ranks.shape[2])

    def resampled(self, draws: Floats) -> Floats:
        """Return the mean over the classes that have positives and negatives among the draws."""
        return np.stack([_mean_auc(draws, ranks, self.positives) for ranks in self.ranks], axis=1)

    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return differences of AUC after exchanging ranks, which are then ranked anew."""
        differences = []
        for mine, theirs in zip(self.ranks, other.ranks, strict=True):
            for a, b, positive in zip(mine, theirs, self.positives, strict=True):
                first = rankdata(np.where(swap, b, a), axis=1)
                second = rankdata(np.where(swap, a, b), axis=1)
                gap = (first - second)[:, positive].sum(axis=1)
                differences.append(gap / (positive.sum() * (~positive).sum()))
        return np.asarray(np.mean(differences, axis=0))

    def take(self, runs: Sequence[int]) -> Self:
        """Return some of the runs."""
        return type(self)(list(self.ranks[list(runs)]), self.positives)


def _mean_auc(draws: Floats, ranks: Floats, positives: Bools) -> Floats:
    values = np.stack(
        [_weighted_auc(draws, r, p) for r, p in zip(ranks, positives, strict=True)]
    )  # [C, R]
    defined = ~np.isnan(values)
    number = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    means: Floats = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
    return means


def _weighted_auc(draws: Floats, ranks: Floats, positive: Bools) -> Floats:
    """Return the AUC [R] of cases drawn `draws` [R, N] times; ties count half."""
    order = np.argsort(ranks, kind="stable")
    starts = np.flatnonzero(np.diff(ranks[order], prepend=-1.0))
    drawn = draws[:, order]
    chosen = positive[order]
    # [R, T] weights of positives and negatives at each of T distinct ranks, ascending.
    up = np.add.reduceat(drawn * chosen, starts, axis=1)
    down = np.add.reduceat(drawn * ~chosen, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    wins = (up * (below + down / 2)).sum(axis=1)
    pairs = up.sum(axis=1) * down.sum(axis=1)
    auc: Floats = np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return auc
