"""An estimate with its standard error: intervals and p-values from Student's t."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from scipy import stats

from omnibench_leaderboard.stats.flags import Flag

SMALLEST_P = sys.float_info.min


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean or a difference of means.

    Args:
        value: On the metric's own scale.
        se: Standard error; None where the data hold no variance or are too few.
        df: Degrees of freedom of Student's t.
        test_df: Those of p-values of a difference, where families reach further into the tail than
            `df` can be trusted; None for `df`.
        flags: What a reader must know.
    """

    value: float
    se: float | None = None
    df: float = math.inf
    test_df: float | None = None
    flags: tuple[Flag, ...] = ()

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the two-sided confidence interval, None without a standard error."""
        if self.se is None:
            return None
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se
        return self.value - half, self.value + half

    def logit_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return an interval inside (0, 1) for a metric that lives there.

        The standard error is carried to the logit scale, and the interval back from it.
        """
        if self.se is None or not 0 < self.value < 1:
            return self.interval(level)
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se
        half /= self.value * (1 - self.value)
        centre = math.log(self.value / (1 - self.value))
        return _expit(centre - half), _expit(centre + half)

    def p(self, null: float = 0.0) -> float | None:
        """Return the two-sided p-value, never 0; None without a standard error."""
        if self.se is None:
            return None
        df = self.df if self.test_df is None else self.test_df
        return max(float(2 * stats.t.sf(abs(self.value - null) / self.se, df)), SMALLEST_P)

    def tost(self, margin: float) -> float | None:
        """Return the p-value of equivalence within ±margin: the larger of two one-sided ones."""
        if self.se is None:
            return None
        far = (margin - abs(self.value)) / self.se
        return max(float(stats.t.sf(far, self.df)), SMALLEST_P)

    def non_inferiority(self, margin: float) -> float | None:
        """Return the one-sided p-value of being worse by less than the margin."""
        if self.se is None:
            return None
        return max(float(stats.t.sf((self.value + margin) / self.se, self.df)), SMALLEST_P)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
