"""A metric as a function of which cases are drawn: the one interface of all resampling.

Notation: S runs (seeds) of one encoder, N cases, R resamples. A row of `draws` [R, N] says how often
each case is drawn, a row of `swap` [R, N] which cases exchange the two encoders' outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from omnibench.errors import IntegrityError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Statistic(ABC):
    """One metric of one encoder's runs on the cases of one dataset."""

    def __init__(self, runs: int, cases: int) -> None:
        self.runs = runs
        self.cases = cases

    @abstractmethod
    def resampled(self, draws: Floats) -> Floats:
        """Return the metric of every run [R, S] on resampled cases; NaN where undefined."""

    @abstractmethod
    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return the mean over runs of this metric minus the other's [R] after exchanges."""

    @abstractmethod
    def take(self, runs: Sequence[int]) -> Self:
        """Return the same statistic of some of the runs, by their positions."""

    def values(self) -> Floats:
        """Return the metric of every run [S] on the cases as they are."""
        return np.asarray(self.resampled(np.ones((1, self.cases)))[0])


class CaseMeans(Statistic):
    """A metric that is a mean over cases: accuracy, Dice per image, ROUGE-L.

    Args:
        scores: Finite floats [S, N].

    Raises:
        IntegrityError: If scores have another shape or are not finite.
    """

    def __init__(self, scores: npt.ArrayLike) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 2 or self.scores.size == 0:
            raise IntegrityError(
                f"scores have shape {self.scores.shape}; [runs, cases] was expected"
            )
        bad = int(np.count_nonzero(~np.isfinite(self.scores)))
        if bad:
            raise IntegrityError(f"{bad} of {self.scores.size} scores a case are not finite")
        super().__init__(*self.scores.shape)

    def resampled(self, draws: Floats) -> Floats:
        """Return weighted means."""
        means: Floats = (draws @ self.scores.T) / draws.sum(axis=1, keepdims=True)
        return means

    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return means of sign-flipped differences."""
        difference = (self.scores - other.scores).mean(axis=0)
        signed: Floats = (1.0 - 2.0 * swap) @ difference / self.cases
        return signed

    def take(self, runs: Sequence[int]) -> Self:
        """Return some of the runs."""
        return type(self)(self.scores[list(runs)])


class CaseCounts(Statistic):
    """A metric of counts summed over cases: macro-F1, dataset-level IoU, BLEU.

    Args:
        counts: For every run a matrix [N, K] of whole numbers, dense or scipy-sparse. Sums of whole
            numbers are exact in float64, so that the order of summation cannot matter.
        formula: Totals [..., K] to the metric [...].
    """

    def __init__(self, counts: Sequence[Any], formula: Callable[[Floats], Floats]) -> None:
        self.counts = tuple(counts)
        self.formula = formula
        super().__init__(len(self.counts), self.counts[0].shape[0])

    def resampled(self, draws: Floats) -> Floats:
        """Return the formula of weighted totals, one matrix product a run."""
        return np.stack([self.formula(draws @ counts) for counts in self.counts], axis=1)

    def exchanged(self, other: Self, swap: Bools) -> Floats:
        """Return differences of the formula after moving the exchanged cases' counts across."""
        moves = swap.astype(np.float64)
        ones = np.ones((1, self.cases))
        differences = []
        for mine, theirs in zip(self.counts, other.counts, strict=True):
            moved = moves @ theirs - moves @ mine
            differences.append(
                self.formula(ones @ mine + moved) - self.formula(ones @ theirs - moved)
            )
        return np.asarray(np.mean(differences, axis=0))

    def take(self, runs: Sequence[int]) -> Self:
        """Return some of the runs."""
        return type(self)([self.counts[run] for run in runs], self.formula)


def same_shapes(runs: Sequence[npt.NDArray[Any]]) -> None:
    """Raise `IntegrityError` unless all runs hold arrays of one shape."""
    shapes = sorted({each.shape for each in runs})
    if len(shapes) > 1:
        raise IntegrityError(
            f"runs of one cell have predictions of shapes {', '.join(map(str, shapes))}: they saw "
            "other cases or classes and cannot be compared"
        )


def mean_ratio(part: Floats, whole: Floats) -> Floats:
    """Return the mean over the last axis of part / whole, without the entries that are 0 / 0.

    Returns:
        Floats [...]; NaN where every entry is 0 / 0.
    """
    here = whole > 0
    ratios = np.divide(part, whole, out=np.zeros_like(whole), where=here)
    number = here.sum(axis=-1)
    means: Floats = np.divide(
        ratios.sum(axis=-1), number, out=np.full(number.shape, np.nan), where=number > 0
    )
    return means
