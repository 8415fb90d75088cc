"""Metrics without a form a case (of foreign tasks): the spread over seeds is all there is.

Seeds are half of the noise (statistics.md 1.2), so everything here is flagged `SEEDS_ONLY`: it
holds on this test set and no further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from omnibench_leaderboard.stats.comparison import Comparison, seed_flags
from omnibench_leaderboard.stats.effects import cohen_paired
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import blocks
from omnibench_leaderboard.stats.ttests import Summary, one_sample, paired

SEEDS_ONLY = "SEEDS_ONLY"
MEANING = "the metric has no form a case: training noise on this test set is all that is tested"
MIN_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class SeedValues:
    """The metric of one encoder's runs.

    Args:
        values: By seed.
        failed: Seeds that were begun and not finished.
        deterministic: Seeds make no difference under this recipe.
    """

    values: Mapping[int, float]
    failed: tuple[int, ...] = ()
    deterministic: bool = False


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval of the mean over seeds, None for fewer than three."""
    if len(values) < MIN_SEEDS:
        return None
    return one_sample(Summary.of(values), 0.0).estimate.interval()


def all_pairs(cells: Mapping[str, SeedValues], higher_is_better: bool) -> list[Comparison]:
    """Compare all pairs of encoders by paired t-tests over common seeds, not corrected."""
    return [compare(cells, a, b, higher_is_better) for a, b in combinations(cells, 2)]


def compare(
    cells: Mapping[str, SeedValues], encoder: str, reference: str, higher_is_better: bool
) -> Comparison:
    """Compare two encoders by a paired t-test over common seeds, not corrected."""
    a, b = cells[encoder], cells[reference]
    seeds = tuple(sorted(set(a.values) & set(b.values)))
    everything = {*a.values, *b.values, *a.failed, *b.failed}
    flags = seed_flags(len(seeds), len(everything), a.deterministic and b.deterministic)
    mine, theirs = [a.values[s] for s in seeds], [b.values[s] for s in seeds]
    gaps = [x - y for x, y in zip(mine, theirs, strict=True)]
    row = Comparison(
        encoder=encoder,
        reference=reference,
        seeds=seeds,
        units=0,
        estimate=Estimate(value=sum(gaps) / len(gaps) if gaps else 0.0),
        higher_is_better=higher_is_better,
        flags=flags,
    )
    if len(seeds) < MIN_SEEDS or blocks(flags):
        return row
    test = paired(mine, theirs)
    ahead = a if (test.estimate.value > 0) == higher_is_better else b
    return replace(
        row,
        # A lead is not believed while runs of the leader failed: `judge` keeps such a verdict.
        correction="withdrawn" if ahead.failed else "",
        estimate=test.estimate,
        p=test.p,
        effect=cohen_paired(gaps),
        flags=tuple(dict.fromkeys((*flags, *test.estimate.flags))),
    )
