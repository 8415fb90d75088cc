"""How stable is a ranking? Resample cases, seeds or datasets, rank again, count.

After challengeR (Wiesenfarth et al., 2021). Rank 1 is best; ties share the smallest rank.
Scores are [R, N, k]: resamples, datasets, encoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.randomness import generator
from omnibench_leaderboard.stats.statistic import Floats, Ints

ROUNDING = 10
DATASET_DRAWS = 10_000
SEED_DRAWS = 2_000

Aggregate = Literal["mean", "rank"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RankStability:
    """Ranks under resampling.

    Args:
        rank: Rank of each encoder [k] as things are.
        first: Share of resamples in which each encoder is first [k]; ties share it.
        low: 2.5 % quantile of its rank [k].
        high: 97.5 % quantile.
        frequencies: Share of resamples [k, k] in which an encoder (row) has rank 1, 2, … (column).
        tau: Mean of Kendall's tau between resampled and full ranking; None where undefined.
    """

    rank: Ints
    first: Floats
    low: Ints
    high: Ints
    frequencies: Floats
    tau: float | None


def aggregate(scores: Floats, how: Aggregate, higher_is_better: bool = True) -> Floats:
    """Return what the ranking is by [R, k], higher is better: mean score or minus mean rank."""
    signed = np.round(scores if higher_is_better else -scores, ROUNDING)
    if how == "mean":
        return np.asarray(signed.mean(axis=1))
    return -np.asarray(stats.rankdata(-signed, axis=2).mean(axis=1))


def stability(full: Floats, resampled: Floats) -> RankStability:
    """Summarise rankings.

    Args:
        full: What the ranking is by [k], higher is better.
        resampled: The same on resamples [R, k]; rows in which it is undefined are left out.
    """
    resampled = resampled[~np.isnan(resampled).any(axis=1)]
    ranks = _ranks(resampled)
    k = ranks.shape[1]
    frequencies = np.stack([(ranks == r).mean(axis=0) for r in range(1, k + 1)], axis=1)
    firsts = ranks == 1
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    return RankStability(
        rank=_ranks(full[None])[0],
        first=np.asarray((firsts / firsts.sum(axis=1, keepdims=True)).mean(axis=0)),
        low=low.astype(np.int64),
        high=high.astype(np.int64),
        frequencies=frequencies,
        tau=_mean_tau(full, resampled),
    )


def by_cases(
    full: Floats, resampled: Floats, how: Aggregate = "mean", higher_is_better: bool = True
) -> RankStability:
    """Resample cases within datasets.

    Args:
        full: Means over seeds [N, k].
        resampled: The same on resampled cases [R, N, k], drawn alike for all encoders
            (`bootstrap.bootstrap`).
        how: Ranking by mean score or by mean rank.
        higher_is_better: Direction of the metric.
    """
    _require_table(full, datasets=1)
    return stability(
        aggregate(full[None], how, higher_is_better)[0],
        aggregate(resampled, how, higher_is_better),
    )


def by_seeds(
    values: Sequence[npt.ArrayLike],
    how: Aggregate = "mean",
    higher_is_better: bool = True,
    content: Sequence[str] = (),
) -> RankStability:
    """Resample seeds within datasets, the same for all encoders.

    Args:
        values: For every dataset, the metric of common seeds [S, k], S >= 3.
        how: Ranking by mean score or by mean rank.
        higher_is_better: Direction of the metric.
        content: Digests from which random draws derive.

    Raises:
        UsageError: If some dataset has fewer than three common seeds.
    """
    tables = [np.asarray(each, dtype=np.float64) for each in values]
    fewest = min((len(each) for each in tables), default=0)
    if fewest < 3:
        raise UsageError(f"{fewest} common seeds on some dataset: resampling needs three")
    rng = generator("rank-seeds", content)
    drawn = [
        each[rng.integers(len(each), size=(SEED_DRAWS, len(each)))].mean(axis=1) for each in tables
    ]
    full = np.stack([each.mean(axis=0) for each in tables])
    return by_cases(full, np.stack(drawn, axis=1), how, higher_is_better)


def by_datasets(
    full: Floats,
    how: Aggregate = "mean",
    higher_is_better: bool = True,
    content: Sequence[str] = (),
) -> RankStability:
    """Resample datasets.

    Args:
        full: Means over seeds [N, k].
        how: Ranking by mean score or by mean rank.
        higher_is_better: Direction of the metric.
        content: Digests from which random draws derive.
    """
    _require_table(full, datasets=2)
    rng = generator("rank-datasets", content)
    rows = rng.integers(len(full), size=(DATASET_DRAWS, len(full)))
    # What a dataset contributes does not depend on the other datasets: average contributions.
    parts = np.stack([aggregate(row[None, None], how, higher_is_better)[0] for row in full])
    return stability(parts.mean(axis=0), parts[rows].mean(axis=1))


def winners_without(
    full: Floats, how: Aggregate = "mean", higher_is_better: bool = True
) -> list[tuple[int, ...]]:
    """Return the first-ranked encoders after leaving out each dataset in turn."""
    _require_table(full, datasets=2)
    winners = []
    for left_out in range(len(full)):
        kept = np.delete(full, left_out, axis=0)
        ranks = _ranks(aggregate(kept[None], how, higher_is_better))[0]
        winners.append(tuple(int(i) for i in np.flatnonzero(ranks == 1)))
    return winners


def statistical_ranks(better: npt.ArrayLike) -> list[tuple[int, int]]:
    """Return the ranks that tests leave open: 1 + number better, k - number worse.

    Args:
        better: Booleans [k, k]: the encoder of the row is significantly better than that of the
            column, after correction.
    """
    wins = np.asarray(better, dtype=bool)
    k = len(wins)
    return [(1 + int(wins[:, i].sum()), k - int(wins[i].sum())) for i in range(k)]


def display_order(means: Mapping[str, float], tied: set[str]) -> list[str]:
    """Return encoders by mean, best first, those tied with the best by name before the rest."""
    return sorted(
        means, key=lambda name: (name not in tied, 0.0 if name in tied else -means[name], name)
    )


def _require_table(full: Floats, datasets: int) -> None:
    """Raise `UsageError` unless scores [N, k] are complete and there is something to rank."""
    missing = int(np.count_nonzero(~np.isfinite(full)))
    if full.ndim != 2 or len(full) < datasets or full.shape[1] < 2 or missing:
        raise UsageError(
            f"scores of shape {full.shape} with {missing} missing: at least {datasets} dataset(s) "
            "and two encoders, all complete, were expected; see `across.complete`"
        )


def _ranks(values: Floats) -> Ints:
    """Return ranks [R, k] of values, 1 is the highest."""
    return np.asarray(
        stats.rankdata(-np.round(values, ROUNDING), method="min", axis=1), dtype=np.int64
    )


def _mean_tau(full: Floats, resampled: Floats) -> float | None:
    """Return the mean of Kendall's tau-b, vectorised over resamples."""
    i, j = np.triu_indices(len(full), k=1)
    base = np.sign(np.round(full[i] - full[j], ROUNDING))
    signs = np.sign(np.round(resampled[:, i] - resampled[:, j], ROUNDING))
    size = np.sqrt(np.abs(base).sum() * np.abs(signs).sum(axis=1))
    here = size > 0
    if not here.any():
        return None
    return float(((signs @ base)[here] / size[here]).mean())
