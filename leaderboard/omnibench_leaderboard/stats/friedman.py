"""Several encoders across datasets by ranks (Demsar, 2006): Friedman and what follows it.

Rank 1 is best. Scores are [N, k]: datasets in rows, encoders in columns, complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.estimate import SMALLEST_P
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag
from omnibench_leaderboard.stats.statistic import Floats

MIN_DATASETS = 5
ROUNDING = 10  # decimals; scores that differ by less are tied


@dataclass(frozen=True, kw_only=True, eq=False)
class Friedman:
    """Friedman's test that all encoders rank alike, and mean ranks.

    Args:
        ranks: Mean rank of each encoder [k], 1 is best.
        by_dataset: Ranks [N, k].
        chi2: Tie-corrected statistic; None where all scores are equal.
        p_chi2: Its p-value; conservative.
        f: The Iman-Davenport statistic; infinite where all datasets rank alike.
        p: Its p-value, or the exact one where f is infinite.
        flags: `FEW_DATASETS`, `IDENTICAL` or `AGREEMENT`.
    """

    ranks: Floats
    by_dataset: Floats
    chi2: float | None
    p_chi2: float | None
    f: float | None
    p: float | None
    flags: tuple[Flag, ...] = ()

    @property
    def datasets(self) -> int:
        """Number of datasets N."""
        return len(self.by_dataset)

    @property
    def encoders(self) -> int:
        """Number of encoders k."""
        return int(self.by_dataset.shape[1])

    @property
    def standard_error(self) -> float:
        """Standard error of a difference of two mean ranks."""
        return math.sqrt(self.encoders * (self.encoders + 1) / (6 * self.datasets))


def friedman(scores: npt.ArrayLike, higher_is_better: bool = True) -> Friedman:
    """Rank encoders on every dataset and test whether they differ.

    Raises:
        UsageError: With fewer than three encoders or two datasets, or a missing score.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise UsageError(
            f"scores of shape {table.shape}: at least two datasets and three encoders were "
            "expected; two encoders are compared by Wilcoxon's test"
        )
    missing = int(np.count_nonzero(~np.isfinite(table)))
    if missing:
        raise UsageError(f"{missing} scores are missing; leave incomplete datasets out first")
    signed = -table if higher_is_better else table
    by_dataset = np.asarray(stats.rankdata(np.round(signed, ROUNDING), axis=1))
    n, k = by_dataset.shape
    ranks = by_dataset.mean(axis=0)
    few = (Flag(Code.FEW_DATASETS, f"{n}"),) if n < MIN_DATASETS else ()
    if (by_dataset == (k + 1) / 2).all():
        flags = (*few, Flag(Code.IDENTICAL))
        return Friedman(
            ranks=ranks, by_dataset=by_dataset, chi2=None, p_chi2=None, f=None, p=None, flags=flags
        )
    chi2, p_chi2 = (float(x) for x in stats.friedmanchisquare(*by_dataset.T))
    f, p, flags = _iman_davenport(chi2, by_dataset)
    return Friedman(
        ranks=ranks,
        by_dataset=by_dataset,
        chi2=chi2,
        p_chi2=max(p_chi2, SMALLEST_P),
        f=f,
        p=p,
        flags=(*few, *flags),
    )


def _iman_davenport(chi2: float, by_dataset: Floats) -> tuple[float, float, tuple[Flag, ...]]:
    n, k = by_dataset.shape
    rest = n * (k - 1) - chi2
    if rest < 1e-9:
        # Every other dataset must repeat the first one's order, one of k! / (ties)! many.
        orders = math.factorial(k)
        for count in np.unique(by_dataset[0], return_counts=True)[1]:
            orders //= math.factorial(int(count))
        p = max(float(orders) ** (1 - n), SMALLEST_P)
        return math.inf, p, (Flag(Code.AGREEMENT),)
    f = (n - 1) * chi2 / rest
    p = float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    return f, max(p, SMALLEST_P), ()


def critical_difference(encoders: int, datasets: int, alpha: float = ALPHA) -> float:
    """Return Nemenyi's: mean ranks further apart than this differ, all pairs considered."""
    q = float(stats.studentized_range.ppf(1 - alpha, encoders, np.inf))
    return q / math.sqrt(2) * math.sqrt(encoders * (encoders + 1) / (6 * datasets))


def bonferroni_dunn(encoders: int, datasets: int, alpha: float = ALPHA) -> float:
    """Return the critical difference of all encoders against one: a line in a figure."""
    z = float(stats.norm.ppf(1 - alpha / (2 * (encoders - 1))))
    return z * math.sqrt(encoders * (encoders + 1) / (6 * datasets))


def nemenyi(result: Friedman) -> Floats:
    """Return p-values of all pairs [k, k], family-wise; 1 on the diagonal."""
    q = math.sqrt(2) * _rank_gaps(result) / result.standard_error
    p = stats.studentized_range.sf(q, result.encoders, np.inf)
    return _with_unit_diagonal(np.clip(p, SMALLEST_P, 1.0))


def conover(result: Friedman) -> Floats:
    """Return Conover's p-values of all pairs [k, k], not corrected; 1 on the diagonal.

    Raises:
        UsageError: If all datasets rank alike, which leaves no residual variance.
    """
    n, k = result.datasets, result.encoders
    totals = result.by_dataset.sum(axis=0)
    squares = float((result.by_dataset**2).sum())
    residual = 2 * (n * squares - float((totals**2).sum())) / ((n - 1) * (k - 1))
    if residual < 1e-9:
        raise UsageError("all datasets rank alike: Conover's test has no residual variance")
    t = n * _rank_gaps(result) / math.sqrt(residual)
    p = 2 * stats.t.sf(t, (n - 1) * (k - 1))
    return _with_unit_diagonal(np.clip(p, SMALLEST_P, 1.0))


def against(result: Friedman, reference: int) -> list[float]:
    """Return uncorrected rank z-test p-values of every encoder but the reference, in order."""
    z = _rank_gaps(result)[reference] / result.standard_error
    p = np.clip(2 * stats.norm.sf(z), SMALLEST_P, 1.0)
    return [float(value) for i, value in enumerate(p) if i != reference]


def cliques(ranks: npt.ArrayLike, separated: npt.ArrayLike) -> list[tuple[int, ...]]:
    """Return maximal runs of adjacent mean ranks in which no pair is separated.

    Args:
        ranks: Mean ranks [k].
        separated: Booleans [k, k].

    Returns:
        Encoder indices in order of rank, groups of two or more.
    """
    order = [int(i) for i in np.argsort(np.asarray(ranks), kind="stable")]
    apart = np.asarray(separated, dtype=bool)
    groups: list[tuple[int, ...]] = []
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not apart[order[stop], order[start:stop]].any():
            stop += 1
        group = tuple(order[start:stop])
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return groups


def _rank_gaps(result: Friedman) -> Floats:
    return np.abs(result.ranks[:, None] - result.ranks[None, :])


def _with_unit_diagonal(p: Floats) -> Floats:
    np.fill_diagonal(p, 1.0)
    return p
