"""The default interval: seeds and cases are both random, and crossed.

Every seed is scored on the same cases, so that a mean over S seeds and N cases has the variance

    V = V_seed + V_case - V_res

with V_seed the variance of the seeds' means over S, V_case that of the cases' means over N, and
V_res the interaction's over S N, which the other two both contain. Degrees of freedom are
Satterthwaite's, for p-values fewer. With clusters, N is the number of clusters.
"""

from __future__ import annotations

import math

import numpy as np

from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import Code, Flag
from omnibench_leaderboard.stats.statistic import Floats

MIN_UNITS = 5  # fewer clusters give no usable variance
NO_VARIANCE = 1e-20  # of values within [-1, 1]: what rounding leaves behind
UNDEFINED_SHARE = 0.05


def crossed_means(scores: Floats) -> Estimate:
    """Return the grand mean of scores [S, N] and its standard error, exactly.

    With one seed the interval is over cases only. Two-way analysis of variance without replication.
    """
    runs, units = scores.shape
    value = float(scores.mean())
    if units < 2:
        return Estimate(value=value, flags=(Flag(Code.FEW_UNITS, f"{units}"),))
    by_case = scores.mean(axis=0)
    v_case = float(by_case.var(ddof=1)) / units
    if runs == 1:
        return _estimate(value, 0.0, v_case, 0.0, runs, units)
    by_seed = scores.mean(axis=1)
    residual = scores - by_seed[:, None] - by_case[None, :] + value
    v_res = float((residual**2).sum()) / ((runs - 1) * (units - 1)) / (runs * units)
    v_seed = float(by_seed.var(ddof=1)) / runs
    return _estimate(value, v_seed, v_case, v_res, runs, units)


def crossed_bootstrap(values: Floats, resampled: Floats, units: int) -> Estimate:
    """Return the mean over seeds of any metric, its variance over cases from a bootstrap.

    Args:
        values: The metric, or a difference of metrics, of every seed [S].
        resampled: The same on resampled cases [R, S], drawn alike for all seeds; rows in which it
            is undefined are left out.
        units: Number of cases or clusters that were drawn.
    """
    runs = len(values)
    value = float(values.mean())
    if units < 2:
        return Estimate(value=value, flags=(Flag(Code.FEW_UNITS, f"{units}"),))
    kept = resampled[~np.isnan(resampled).any(axis=1)]
    lost = 1 - len(kept) / len(resampled)
    flags = (Flag(Code.UNDEFINED, f"{lost:.0%}"),) if lost > UNDEFINED_SHARE else ()
    if len(kept) < 2:
        return Estimate(value=value, flags=(*flags, Flag(Code.FEW_UNITS, f"{units}")))
    # A bootstrap variance is that of the sample, (n - 1) / n of the population's.
    unbiased = units / (units - 1)
    v_case = float(kept.mean(axis=1).var(ddof=1)) * unbiased
    if runs == 1:
        return _estimate(value, 0.0, v_case, 0.0, runs, units, flags)
    v_bar = float(kept.var(axis=0, ddof=1).mean()) * unbiased
    v_res = max(0.0, (v_bar - v_case) / (runs - 1))
    v_seed = float(values.var(ddof=1)) / runs
    return _estimate(value, v_seed, v_case, v_res, runs, units, flags)


def linearised(scores: Floats, cases: Cases) -> Floats:
    """Return contributions of clusters [S, G] whose means over clusters are those over cases.

    A mean over cases is a ratio of two sums over clusters of unequal size; to first order its
    sampling error is that of these contributions. Without clusters they are the scores [S, N].
    """
    if cases.groups is None:
        return scores
    means = scores.mean(axis=1, keepdims=True)
    sums = np.zeros((len(scores), cases.units))
    for row, centred in zip(sums, scores - means, strict=True):
        row += np.bincount(cases.unit, weights=centred, minlength=cases.units)
    return np.asarray(means + sums * (cases.units / len(cases)))


def _estimate(
    value: float,
    v_seed: float,
    v_case: float,
    v_res: float,
    runs: int,
    units: int,
    flags: tuple[Flag, ...] = (),
) -> Estimate:
    variance = max(v_seed + v_case - v_res, v_res)
    if variance < NO_VARIANCE:
        return Estimate(value=value, flags=(*flags, Flag(Code.ZERO_VAR)))
    parts = v_case**2 / (units - 1)
    if runs > 1:
        parts += v_seed**2 / (runs - 1) + v_res**2 / ((runs - 1) * (units - 1))
    if units < MIN_UNITS:
        flags = (*flags, Flag(Code.FEW_UNITS, f"{units}"))
    df = variance**2 / parts
    return Estimate(
        value=value, se=math.sqrt(variance), df=df, test_df=_test_df(df, runs), flags=flags
    )


def _test_df(df: float, runs: int) -> float:
    """Return degrees of freedom for p-values, fewer than Satterthwaite's.

    His are estimated from the same few seeds as the variance: where that comes out too small, they
    come out too large, and in the tail that a corrected family reaches into the two add up (the
    calibration in the room's README). With seeds the only noise there are S - 1.
    """
    return min(df, max(runs - 1, df * (runs - 2) / (runs + 1))) if runs > 2 else df
