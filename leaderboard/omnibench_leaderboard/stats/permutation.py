"""Permutation tests on stored predictions: what if the two encoders' outputs were exchanged?

With several seeds the null concerns these trained heads, not the training of others. p is exact
where enumeration is feasible, else (1 + hits) / (1 + draws), never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.randomness import generator
from omnibench_leaderboard.stats.statistic import Bools, Floats, Statistic

PERMUTATIONS = 9_999
EXACT_UNITS = 16  # 2^16 exchanges are enumerated
EXACT_SPLITS = 100_000
ROUNDING = 10  # decimals; differences below are float noise, not evidence
BLOCK = 1 << 21


@dataclass(frozen=True, kw_only=True)
class Permutation:
    """A two-sided permutation p-value.

    Args:
        statistic: The observed difference.
        p: In (0, 1]; 1 where nothing differs.
        floor: The smallest p that this test could have given.
        exact: All permutations were enumerated.
    """

    statistic: float
    p: float
    floor: float
    exact: bool

    @property
    def at_floor(self) -> bool:
        """Tell whether no permutation is more extreme than what was observed."""
        return math.isclose(self.p, self.floor)


def sign_flip(differences: npt.ArrayLike, content: Sequence[str] = ()) -> Permutation:
    """Test whether paired differences are symmetric about 0, by their mean.

    Args:
        differences: Finite floats [N].
        content: Digests from which random draws derive.
    """
    d = np.round(np.asarray(differences, dtype=np.float64), ROUNDING)
    if d.ndim != 1 or len(d) == 0 or not np.isfinite(d).all():
        raise UsageError(f"differences of shape {d.shape}: finite numbers [N] were expected")
    nonzero = np.abs(d[d != 0])
    observed = float(d.mean())
    if len(nonzero) == 0:
        return Permutation(statistic=0.0, p=1.0, floor=1.0, exact=True)
    if len(nonzero) <= EXACT_UNITS:
        signs = 2.0 * _every_exchange(len(nonzero)) - 1.0
        return _exact(observed, signs @ nonzero / len(d))
    sizes, times = np.unique(nonzero, return_counts=True)
    # Flipping `times` equal differences is one binomial draw.
    rng = generator("sign-flip", content)
    rows = max(1, BLOCK // len(sizes))
    sums = [
        (2.0 * rng.binomial(times, 0.5, size=(min(rows, PERMUTATIONS - i), len(sizes))) - times)
        @ sizes
        for i in range(0, PERMUTATIONS, rows)
    ]
    return _sampled(observed, np.concatenate(sums) / len(d))


def exchange(a: Statistic, b: Statistic, cases: Cases, content: Sequence[str] = ()) -> Permutation:
    """Test a difference of any metric by exchanging the encoders' outputs a case or cluster.

    Args:
        a: One encoder's runs.
        b: The other's, of the same seeds on the same cases.
        cases: Their cases; clusters are exchanged as a whole.
        content: Digests from which random draws derive.
    """
    observed = float((a.values() - b.values()).mean())
    if cases.units <= EXACT_UNITS:
        units = _every_exchange(cases.units)
        return _exact(observed, _exchanged(a, b, units[:, cases.unit]))
    rng = generator("exchange", [cases.digest, *content])
    rows = max(1, BLOCK // len(cases))
    found = [
        _exchanged(
            a, b, rng.random((min(rows, PERMUTATIONS - i), cases.units))[:, cases.unit] < 0.5
        )
        for i in range(0, PERMUTATIONS, rows)
    ]
    return _sampled(observed, np.concatenate(found))


def independent(a: npt.ArrayLike, b: npt.ArrayLike) -> Permutation:
    """Test a difference of means of runs that share no seeds, by every split of the pooled runs.

    Raises:
        UsageError: If there are more splits than can be enumerated.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    splits = math.comb(len(x) + len(y), len(x))
    if splits > EXACT_SPLITS:
        raise UsageError(f"{len(x)} and {len(y)} runs have {splits} splits; use a t-test")
    found = stats.permutation_test(
        (x, y), _mean_difference, permutation_type="independent", n_resamples=EXACT_SPLITS
    )
    floor = (2 if len(x) == len(y) else 1) / splits
    return Permutation(
        statistic=float(found.statistic), p=float(found.pvalue), floor=floor, exact=True
    )


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Exact test of paired right and wrong answers, and its less conservative mid-p."""

    p: float
    mid_p: float


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """Compare the numbers of cases that only one of two trained heads gets right."""
    total = only_a + only_b
    if total == 0:
        return McNemar(p=1.0, mid_p=1.0)
    p = float(stats.binomtest(only_a, total).pvalue)
    mid_p = p - float(stats.binom.pmf(only_a, total, 0.5)) if only_a != only_b else 1.0
    return McNemar(p=p, mid_p=mid_p)


def sign_floor(pairs: int) -> float:
    """Return the smallest two-sided p of any rank or sign-flip test on so many pairs."""
    return 2.0 ** (1 - pairs)


def _mean_difference(a: Floats, b: Floats, axis: int) -> Floats:
    return np.asarray(a.mean(axis=axis) - b.mean(axis=axis))


def _every_exchange(units: int) -> Bools:
    return np.array(list(product((False, True), repeat=units)))


def _exchanged(a: Statistic, b: Statistic, swap: Bools) -> Floats:
    rows = max(1, BLOCK // swap.shape[1])
    return np.concatenate([a.exchanged(b, swap[i : i + rows]) for i in range(0, len(swap), rows)])


def _as_extreme(observed: float, found: Floats) -> int:
    return int(
        np.count_nonzero(np.round(np.abs(found), ROUNDING) >= round(abs(observed), ROUNDING))
    )


def _exact(observed: float, found: Floats) -> Permutation:
    # What was observed and its mirror are always among them.
    p = _as_extreme(observed, found) / len(found)
    return Permutation(statistic=observed, p=p, floor=2 / len(found), exact=True)


def _sampled(observed: float, found: Floats) -> Permutation:
    p = (1 + _as_extreme(observed, found)) / (1 + len(found))
    return Permutation(statistic=observed, p=p, floor=1 / (1 + len(found)), exact=False)
