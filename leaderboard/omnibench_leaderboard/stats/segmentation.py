"""The metrics of `omnibench.metrics.segmentation` as functions of which cases are drawn.

Totals are pixel counts [..., C * 4]: true positive, false positive, false negative, true negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from omnibench.metrics.segmentation import (
    PAPER_BATCH,
    PAPER_EPSILON,
    check_counts,
    dice,
    iou,
    per_image,
)
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

Score = Callable[[Ints], Floats]


def from_counts(metric: str, counts: Sequence[Any], grid: str) -> Statistic | None:
    """Return the statistic of a metric id without its grid, or None for an unknown id.

    Args:
        metric: Such as `miou_dataset`; the names of `omnibench.metrics.segmentation`.
        counts: For every run, integers [N, C, 4] in dataset order.
        grid: Where pixels were compared: a side in pixels, or `native`.

    Raises:
        IntegrityError: If these cannot be counts of such images.
    """
    runs = [check_counts(each, grid) for each in counts]
    same_shapes(runs)
    if metric in PER_IMAGE:
        score, first = PER_IMAGE[metric]
        return CaseMeans([per_image(score, each, first) for each in runs])
    if metric in POOLED:
        return CaseCounts([_flat(each) for each in runs], POOLED[metric])
    if metric in BATCHED:
        return PaperBatches(np.stack(runs, axis=1), BATCHED[metric])
    return None


def _flat(counts: Ints) -> Floats:
    return counts.reshape(len(counts), -1).astype(np.float64)


def _pooled(weight: float, first_class: int) -> Callable[[Floats], Floats]:
    """Return mean IoU (weight 1) or Dice (weight 2) of the classes from `first_class`."""

    def formula(totals: Floats) -> Floats:
        parts = totals.reshape(*totals.shape[:-1], -1, 4)[..., first_class:, :]
        tp, fp, fn, _ = np.moveaxis(parts, -1, 0)
        return mean_ratio(weight * tp, weight * tp + fp + fn)

    return formula


class PaperBatches(Statistic):
    """A metric averaged over consecutive batches (OmniRad's released evaluation).

    A resample keeps dataset order and is cut into batches anew, as the evaluation would.

    Args:
        counts: Integers [N, S, C, 4].
        score: Counts of batches [B, S, C, 4] to their scores [B, S].
    """

    def __init__(self, counts: Ints, score: Callable[[Ints], Floats]) -> None:
        self.counts = counts
        self.score = score
        super().__init__(counts.shape[1], counts.shape[0])

    def resampled(self, draws: Floats) -> Floats:
        """Return the metric of the resampled images in dataset order."""
        cases = np.arange(self.cases)
        rows = (np.repeat(cases, row) for row in draws.astype(np.int64))
        return np.stack([self._mean(self.counts[row]) for row in rows])

    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return differences of the metric after exchanging images."""
        gaps = [
            self._mean(np.where(row, other.counts, self.counts))
            - self._mean(np.where(row, self.counts, other.counts))
            for row in swap[:, :, None, None, None]
        ]
        return np.asarray(np.mean(gaps, axis=1))

    def take(self, runs: Sequence[int]) -> Self:
        """Return some of the runs."""
        return type(self)(self.counts[:, list(runs)], self.score)

    def _mean(self, counts: Ints) -> Floats:
        """Return the mean score over batches [S] of counts [n, S, C, 4]."""
        batches = np.add.reduceat(counts, np.arange(0, len(counts), PAPER_BATCH), axis=0)
        return np.asarray(self.score(batches).mean(axis=0))


def _paper_mean(part: Ints, whole: Ints) -> Floats:
    """Return the mean of part / (whole + epsilon) over the classes whose whole is not 0."""
    here = whole > 0
    ratios = np.where(here, part / (whole + PAPER_EPSILON), 0.0)
    return np.asarray(ratios.sum(axis=-1) / here.sum(axis=-1))


def _paper_iou(counts: Ints) -> Floats:
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return _paper_mean(tp, tp + fp + fn)


def _paper_dice(counts: Ints) -> Floats:
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return _paper_mean(2 * tp, 2 * tp + fp + fn)


def _paper_f1(counts: Ints) -> Floats:
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    precision, recall = _paper_mean(tp, tp + fp), _paper_mean(tp, tp + fn)
    return 2 * precision * recall / (precision + recall + PAPER_EPSILON)


POOLED = {
    "miou_dataset": _pooled(1.0, 0),
    "dice_dataset": _pooled(2.0, 0),
    "miou_fg_dataset": _pooled(1.0, 1),
    "dice_fg_dataset": _pooled(2.0, 1),
}
PER_IMAGE: dict[str, tuple[Score, int]] = {
    "iou_fg_image": (iou, 1),
    "dice_fg_image": (dice, 1),
    "iou_macro_image": (iou, 0),
    "dice_macro_image": (dice, 0),
}
BATCHED = {"miou_paper": _paper_iou, "dice_paper": _paper_dice, "f1_paper": _paper_f1}
