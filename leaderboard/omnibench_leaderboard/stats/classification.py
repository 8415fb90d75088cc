"""The metrics of `omnibench.metrics.classification` as functions of which cases are drawn.

Totals are confusion counts [..., C * C], labels in rows, predicted classes in columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
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
    same_shapes,
)

AUC = ("auc", "auc_ovr_macro", "auc_ovr_present")
# Above this many pairs the area is taken as linear in the draws, as DeLong's variance takes it.
MAX_PAIRS = 1 << 20


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
    same_shapes([s for s, _ in runs])
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
        positives: Booleans [C, N], some of each kind in every class.
    """

    def __init__(self, scores: Sequence[Floats], positives: Bools) -> None:
        # Ranks instead of scores: what is exchanged between encoders must be on one scale.
        self.ranks = np.stack([rankdata(each, axis=1) for each in scores])  # [S, C, N]
        self.positives = positives
        super().__init__(self.ranks.shape[0], self.ranks.shape[2])

    def resampled(self, draws: Floats) -> Floats:
        """Return the mean over the classes that have positives and negatives among the draws."""
        values = np.stack([area(draws) for area in self._areas])  # [C, R, S]
        defined = ~np.isnan(values)
        total = np.where(defined, values, 0.0).sum(axis=0)
        return _ratio(total, defined.sum(axis=0, dtype=np.float64))

    @cached_property
    def _areas(self) -> list[Callable[[Floats], Floats]]:
        """How the area of each class follows from the draws."""
        classes = enumerate(self.positives)
        return [_area(self.ranks[:, c], positive) for c, positive in classes]

    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return differences of AUC after exchanging ranks, which are then compared anew.

        The difference of the two areas is linear in the exchanges: each moves it by how many
        opponents of both encoders lie between the two ranks of a case.
        """
        change = np.zeros(self.cases)
        for mine, theirs in zip(self.ranks, other.ranks, strict=True):
            for a, b, positive in zip(mine, theirs, self.positives, strict=True):
                for side in (positive, ~positive):
                    pool = np.concatenate([a[~side], b[~side]])
                    gained = _below(a[side], pool) - _below(b[side], pool)
                    sign = 1.0 if side is positive else -1.0
                    change[side] += sign * gained / (side.sum() * (~side).sum())
        scale = self.runs * len(self.positives)
        observed = float((self.values() - other.values()).mean())
        return np.asarray(observed - swap @ change / scale)

    def take(self, runs: Sequence[int]) -> Self:
        """Return some of the runs."""
        return type(self)(list(self.ranks[list(runs)]), self.positives)


def _area(ranks: Floats, positive: Bools) -> Callable[[Floats], Floats]:
    """Return what makes areas [R, S] of draws [R, N]; NaN without both kinds.

    Args:
        ranks: Ranks of every run [S, N].
        positive: Booleans [N].
    """
    kinds = np.stack([positive, ~positive], axis=1).astype(np.float64)
    n, m = (int(count) for count in kinds.sum(axis=0))
    if n * m <= MAX_PAIRS:
        gaps = ranks[:, positive, None] - ranks[:, None, ~positive]
        wins = np.heaviside(gaps, 0.5)  # [S, n, m]

        def exact(draws: Floats) -> Floats:
            up, down = draws[:, positive], draws[:, ~positive]
            won = np.stack([((up @ each) * down).sum(axis=1) for each in wins], axis=1)
            return _ratio(won, up.sum(axis=1, keepdims=True) * down.sum(axis=1, keepdims=True))

        return exact

    # Placements [N, S]: the share of the other kind that a case is on the right side of.
    above, below = np.zeros((2, len(positive), len(ranks)))
    for s, run in enumerate(ranks):
        above[positive, s] = _below(run[positive], run[~positive]) / m
        below[~positive, s] = 1 - _below(run[~positive], run[positive]) / n
    area = above.sum(axis=0) / n
    matrix = np.concatenate([above, below, kinds], axis=1)

    def linear(draws: Floats) -> Floats:
        up, down, drawn = np.split(draws @ matrix, [len(ranks), 2 * len(ranks)], axis=1)
        return np.asarray(_ratio(up, drawn[:, :1]) + _ratio(down, drawn[:, 1:]) - area)

    return linear


def _below(values: Floats, pool: Floats) -> Floats:
    """Return how many of a pool lie below each value, ties counting half."""
    ordered = np.sort(pool)
    left = np.searchsorted(ordered, values, side="left")
    return (left + np.searchsorted(ordered, values, side="right")) / 2


def _ratio(part: Floats, whole: Floats) -> Floats:
    out = np.full(part.shape, np.nan)
    ratio: Floats = np.divide(part, whole, out=out, where=np.broadcast_to(whole > 0, part.shape))
    return ratio
