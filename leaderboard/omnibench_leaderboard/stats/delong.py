"""DeLong's test: areas under correlated ROC curves of one trained head each.

DeLong, DeLong and Clarke-Pearson (1988) with the midranks of Sun and Xu (2014). Not valid for
clustered cases; below about twenty positives or negatives prefer `permutation.exchange`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import Code, Flag
from omnibench_leaderboard.stats.statistic import Floats

FEW_CASES = 20
NO_VARIANCE = 1e-20


@dataclass(frozen=True, kw_only=True, eq=False)
class DeLong:
    """Areas and their covariance.

    Args:
        areas: AUC of each head [K], in [0, 1].
        covariance: [K, K].
        flags: `FEW_UNITS` below twenty positives or negatives.
    """

    areas: Floats
    covariance: Floats
    flags: tuple[Flag, ...]

    def area(self, index: int = 0) -> Estimate:
        """Return one area; its interval is `logit_interval`, which stays within (0, 1)."""
        return _normal(float(self.areas[index]), float(self.covariance[index, index]), self.flags)

    def difference(self, first: int = 0, second: int = 1) -> Estimate:
        """Return the difference of two areas."""
        contrast = np.zeros(len(self.areas))
        contrast[first] += 1
        contrast[second] -= 1
        variance = float(contrast @ self.covariance @ contrast)
        return _normal(float(self.areas[first] - self.areas[second]), variance, self.flags)


def delong(scores: npt.ArrayLike, positive: npt.ArrayLike) -> DeLong:
    """Return the areas of K heads on the same cases, with their covariance.

    Args:
        scores: Floats [K, N]; higher means more likely positive.
        positive: Booleans [N].

    Raises:
        UsageError: With fewer than two positives or negatives.
    """
    s, y = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(positive, dtype=bool)
    up, down = s[:, y], s[:, ~y]
    n, m = up.shape[1], down.shape[1]
    if min(n, m) < 2:
        raise UsageError(f"{n} positives and {m} negatives: DeLong needs two of each")
    ranks = rankdata(np.concatenate([up, down], axis=1), axis=1)
    # Placements: the share of the other class that each case lies above.
    of_up = (ranks[:, :n] - rankdata(up, axis=1)) / m
    of_down = 1 - (ranks[:, n:] - rankdata(down, axis=1)) / n
    covariance = np.atleast_2d(np.cov(of_up)) / n + np.atleast_2d(np.cov(of_down)) / m
    flags = (Flag(Code.FEW_UNITS, f"{min(n, m)}"),) if min(n, m) < FEW_CASES else ()
    return DeLong(areas=of_up.mean(axis=1), covariance=covariance, flags=flags)


def _normal(value: float, variance: float, flags: tuple[Flag, ...]) -> Estimate:
    if variance < NO_VARIANCE:
        return Estimate(value=value, flags=(*flags, Flag(Code.ZERO_VAR)))
    return Estimate(value=value, se=math.sqrt(variance), flags=flags)
