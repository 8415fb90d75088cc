"""Effect sizes of runs, and how small a difference a design can detect."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln, nctdtr

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.flags import ALPHA
from omnibench_leaderboard.stats.statistic import Floats

POWER = 0.8
# Beyond this noncentrality the noncentral t of scipy is no longer reliable.
LARGEST_NONCENTRALITY = 37.0


@dataclass(frozen=True, kw_only=True)
class EffectSize:
    """A standardised difference.

    Args:
        d: Difference over standard deviation (Cohen's d, or dz of paired runs).
        g: d without its small-sample bias (Hodges' exact factor).
        interval: 95 % interval of d from the noncentral t, None where it cannot be computed.
    """

    d: float
    g: float
    interval: tuple[float, float] | None


def cohen(a: npt.ArrayLike, b: npt.ArrayLike) -> EffectSize | None:
    """Return the effect size of independent runs (pooled SD), None without variance."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        raise UsageError(f"{n} and {m} runs: an effect size needs two of each")
    pooled = ((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2)
    return _effect(float(x.mean() - y.mean()), float(pooled), n + m - 2, math.sqrt(n * m / (n + m)))


def cohen_paired(differences: npt.ArrayLike) -> EffectSize | None:
    """Return the effect size dz of paired runs, None without variance."""
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2:
        raise UsageError(f"{len(d)} pairs: an effect size needs two")
    return _effect(float(d.mean()), float(d.var(ddof=1)), len(d) - 1, math.sqrt(len(d)))


def hodges_factor(df: int) -> float:
    """Return the exact factor that takes the bias from d."""
    return math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def a12(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return P(a > b) + P(a = b) / 2 (Vargha-Delaney); Cliff's delta is 2 A12 - 1."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    wins = np.sign(x[:, None] - y[None, :])
    return float((wins.mean() + 1) / 2)


def probability_of_improvement(a: Sequence[npt.ArrayLike], b: Sequence[npt.ArrayLike]) -> float:
    """Return the mean of A12 over datasets, of the runs of two encoders on each of them."""
    return float(np.mean([a12(x, y) for x, y in zip(a, b, strict=True)]))


def rank_biserial(differences: npt.ArrayLike) -> float:
    """Return the matched-pairs rank-biserial correlation in [-1, 1]; 0 where nothing differs."""
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]
    if len(d) == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(d))
    return float((np.sign(d) * ranks).sum() / ranks.sum())


def walsh_averages(differences: npt.ArrayLike) -> Floats:
    """Return the means of all pairs, each value with itself too, ascending."""
    d = np.asarray(differences, dtype=np.float64)
    i, j = np.triu_indices(len(d))
    return np.sort((d[i] + d[j]) / 2)


def hodges_lehmann(differences: npt.ArrayLike) -> float:
    """Return the median of the Walsh averages."""
    return float(np.median(walsh_averages(differences)))


def walsh_interval(differences: npt.ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return the exact interval that inverts the signed-rank test, None with too few pairs."""
    d = np.asarray(differences, dtype=np.float64)
    averages = walsh_averages(d)
    cumulative = np.cumsum(_signed_rank_pmf(len(d)))
    # The k-th smallest and largest, with P(W <= k - 1) <= (1 - level) / 2.
    k = int(np.searchsorted(cumulative, (1 - level) / 2, side="right"))
    return None if k == 0 else (float(averages[k - 1]), float(averages[-k]))


def detectable(se: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest true difference that such an interval finds with the given power.

    Args:
        se: Standard error of the difference.
        df: Its degrees of freedom.
        alpha: Two-sided level.
        power: Chance of a verdict, in (alpha, 1).
    """
    critical = float(stats.t.ppf(1 - alpha / 2, df))
    if math.isinf(df):
        return se * (critical + float(stats.norm.ppf(power)))

    def shortfall(noncentrality: float) -> float:
        # The far tail underflows to NaN in scipy where it no longer counts.
        far = float(np.nan_to_num(nctdtr(df, noncentrality, -critical)))
        return 1 - float(nctdtr(df, noncentrality, critical)) + far - power

    return se * _root(shortfall, 0.0, critical + 10)


def _effect(difference: float, variance: float, df: int, root_n: float) -> EffectSize | None:
    if variance <= 0:
        return None
    d = difference / math.sqrt(variance)
    return EffectSize(d=d, g=d * hodges_factor(df), interval=_noncentral_interval(d, df, root_n))


def _noncentral_interval(d: float, df: int, root_n: float) -> tuple[float, float] | None:
    t = d * root_n
    if abs(t) > LARGEST_NONCENTRALITY - 10:
        return None
    ends = []
    for tail in (0.975, 0.025):

        def gap(noncentrality: float, tail: float = tail) -> float:
            below = float(nctdtr(df, noncentrality, t))
            # scipy gives NaN far from t, where nothing, or everything, lies below it.
            return (float(noncentrality < t) if math.isnan(below) else below) - tail

        if gap(-LARGEST_NONCENTRALITY) < 0 or gap(LARGEST_NONCENTRALITY) > 0:
            return None
        ends.append(_root(gap, -LARGEST_NONCENTRALITY, LARGEST_NONCENTRALITY) / root_n)
    return ends[0], ends[1]


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(function, low, high, xtol=1e-12))


def _signed_rank_pmf(n: int) -> Floats:
    """Return the null distribution of the signed-rank statistic over 0 .. n (n + 1) / 2."""
    pmf = np.zeros(n * (n + 1) // 2 + 1)
    pmf[0] = 1.0
    for rank in range(1, n + 1):
        pmf[rank:] = pmf[rank:] + pmf[:-rank]
    return pmf / 2.0**n
