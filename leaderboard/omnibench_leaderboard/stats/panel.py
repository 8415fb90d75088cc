"""All encoders on one dataset, seen through one metric: standings, comparisons, families."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from omnibench.errors import UsageError, suggestion
from omnibench_leaderboard.stats.bootstrap import RESAMPLES, bootstrap
from omnibench_leaderboard.stats.cells import Cases, Cell
from omnibench_leaderboard.stats.comparison import Comparison, Standing, decide, seed_flags
from omnibench_leaderboard.stats.crossed import crossed_bootstrap, crossed_means, linearised
from omnibench_leaderboard.stats.effects import cohen_paired, detectable
from omnibench_leaderboard.stats.equivalence import margin
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag, Verdict, blocks
from omnibench_leaderboard.stats.hierarchical import hierarchical_interval
from omnibench_leaderboard.stats.multiplicity import benjamini_hochberg, family_size, holm
from omnibench_leaderboard.stats.permutation import (
    ROUNDING,
    McNemar,
    Permutation,
    exchange,
    mcnemar,
    sign_flip,
)
from omnibench_leaderboard.stats.statistic import CaseMeans, Floats
from omnibench_leaderboard.stats.ttests import paired


class Panel:
    """One dataset's cells under one metric.

    Args:
        metric: Metric id.
        cells: One an encoder, all on the same cases.
        cases: Those cases.
        higher_is_better: Direction of the metric.
        chance: Score that a failed run is given when a lead is checked; None believes no lead
            of an encoder with failed runs.
        flags: What is known of every comparison here, such as `MIXED_CODE`.
        resampled: Where bootstraps are kept, by encoder [R, S]: an earlier one is used again.
        resamples: R.
    """

    def __init__(
        self,
        metric: str,
        cells: Sequence[Cell],
        cases: Cases,
        *,
        higher_is_better: bool = True,
        chance: float | None = None,
        flags: Sequence[Flag] = (),
        resampled: MutableMapping[str, Floats] | None = None,
        resamples: int = RESAMPLES,
    ) -> None:
        self.metric = metric
        self.cells = {cell.encoder: cell for cell in cells}
        self.cases = cases
        self.higher_is_better = higher_is_better
        self.chance = chance
        self.flags = tuple(flags)
        self.resamples = resamples
        self._resampled = {} if resampled is None else resampled
        self._check(cells)

    def _check(self, cells: Sequence[Cell]) -> None:
        if not cells:
            raise UsageError(f"no encoder has finished runs with {self.metric}")
        if len(self.cells) < len(cells):
            names = [cell.encoder for cell in cells]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise UsageError(f"two cells of {', '.join(twice)} under {self.metric}; give one each")
        wrong = [c.encoder for c in cells if c.statistic.cases != len(self.cases)]
        if wrong:
            raise UsageError(
                f"{', '.join(wrong)}: runs on other cases than the {len(self.cases)} of this table"
            )

    def resampled(self, encoder: str) -> Floats:
        """Return the metric of every run [R, S] on the resamples that all encoders share."""
        if encoder not in self._resampled:
            cell = self._cell(encoder)
            self._resampled[encoder] = bootstrap(cell.statistic, self.cases, self.resamples)
        return self._resampled[encoder]

    def standing(self, encoder: str) -> Standing:
        """Return mean, SD and interval of one encoder."""
        cell = self._cell(encoder)
        estimate = self._estimate(encoder)
        n = len(cell.seeds)
        flags = seed_flags(n, n + len(cell.failed), cell.deterministic)
        flags = (*flags, *self.flags, *self._cluster_flag(), *estimate.flags)
        interval = None if n == 2 else estimate.logit_interval()
        if interval is None and n != 2:
            interval = self._wilson(cell)
        return Standing(
            encoder=encoder,
            values=cell.values,
            mean=estimate.value,
            sd=float(np.std(cell.values, ddof=1)) if n > 2 else None,
            interval=interval,
            flags=flags,
        )

    def against(self, reference: str, alpha: float = ALPHA) -> list[Comparison]:
        """Compare every other encoder with one that was chosen before; Holm over the family."""
        self._cell(reference)
        rows = [self._compare(name, reference) for name in self.cells if name != reference]
        if not rows:
            raise UsageError(f"only {reference!r} is there: a comparison needs two encoders")
        return self._corrected(rows, "holm", alpha)

    def all_pairs(self, alpha: float = ALPHA) -> list[Comparison]:
        """Compare all pairs: q-values of Benjamini and Hochberg, exploratory."""
        rows = [self._compare(a, b) for a, b in combinations(self.cells, 2)]
        if not rows:
            raise UsageError(f"{len(self.cells)} encoder(s): a comparison needs two")
        return self._corrected(rows, "bh", alpha)

    def tied_with_best(self, pairs: Sequence[Comparison]) -> set[str]:
        """Return the best encoder by mean, and those that `pairs` do not separate from it."""
        sign = 1 if self.higher_is_better else -1
        best = max(
            self.cells, key=lambda name: (sign * float(np.mean(self.cells[name].values)), name)
        )
        settled = {(row.encoder, row.reference): row.verdict for row in pairs}
        behind = {
            name
            for name in self.cells
            if settled.get((name, best)) is Verdict.WORSE
            or settled.get((best, name)) is Verdict.BETTER
        }
        return set(self.cells) - behind

    def per_case(self, encoder: str, reference: str) -> Permutation | McNemar:
        """Test these trained heads by exchanging their outputs a case or cluster.

        McNemar's test for right and wrong answers of one seed, else sign flips of means, else
        exchanges.

        Raises:
            UsageError: If no seed was run for both.
        """
        a, b = self._cell(encoder), self._cell(reference)
        seeds = _common(a, b)
        if not seeds:
            raise UsageError(f"{encoder} and {reference} have no common seed")
        mine, theirs = a.take(seeds), b.take(seeds)
        content = (*a.records, *b.records)
        if not (isinstance(mine, CaseMeans) and isinstance(theirs, CaseMeans)):
            return exchange(mine, theirs, self.cases, content)
        d = (mine.scores - theirs.scores).mean(axis=0)
        if self.cases.groups is not None:
            sums = np.bincount(self.cases.unit, weights=d, minlength=self.cases.units)
            return sign_flip(sums * self.cases.units / len(d), [self.cases.digest, *content])
        if len(seeds) == 1 and set(np.unique(d)) <= {-1.0, 0.0, 1.0}:
            return mcnemar(int((d > 0).sum()), int((d < 0).sum()))
        return sign_flip(d, [self.cases.digest, *content])

    def hierarchical(self, encoder: str, reference: str) -> tuple[float, float] | None:
        """Return the percentile interval of the difference (`hierarchical.py`)."""
        a, b = self._cell(encoder), self._cell(reference)
        seeds = _common(a, b)
        gaps = self._rows(encoder, seeds) - self._rows(reference, seeds)
        return hierarchical_interval(gaps, [self.cases.digest, *a.records, *b.records])

    def _cell(self, encoder: str) -> Cell:
        if encoder not in self.cells:
            known = ", ".join(self.cells)
            raise UsageError(
                f"no encoder {encoder!r} here.{suggestion(encoder, self.cells)} There are: {known}"
            )
        return self.cells[encoder]

    def _estimate(self, encoder: str) -> Estimate:
        cell = self.cells[encoder]
        if isinstance(cell.statistic, CaseMeans):
            return crossed_means(linearised(cell.statistic.scores, self.cases))
        values = np.array(cell.values)
        return crossed_bootstrap(values, self.resampled(encoder), self.cases.units)

    def _difference(self, a: Cell, b: Cell, seeds: Sequence[int]) -> Estimate:
        if isinstance(a.statistic, CaseMeans) and isinstance(b.statistic, CaseMeans):
            mine, theirs = (
                a.statistic.take(a.positions(seeds)),
                b.statistic.take(b.positions(seeds)),
            )
            estimate = crossed_means(linearised(mine.scores - theirs.scores, self.cases))
        else:
            values = self._values(a, seeds) - self._values(b, seeds)
            gaps = self._rows(a.encoder, seeds) - self._rows(b.encoder, seeds)
            estimate = crossed_bootstrap(values, gaps, self.cases.units)
        if Flag(Code.ZERO_VAR) in estimate.flags and round(estimate.value, ROUNDING) == 0:
            return replace(estimate, value=0.0, flags=(Flag(Code.IDENTICAL),))
        return estimate

    def _compare(self, encoder: str, reference: str) -> Comparison:
        a, b = self._cell(encoder), self._cell(reference)
        seeds = _common(a, b)
        everything = set(a.seeds) | set(b.seeds) | set(a.failed) | set(b.failed)
        deterministic = a.deterministic and b.deterministic
        flags = seed_flags(len(seeds), len(everything), deterministic)
        flags = (*flags, *self.flags, *self._cluster_flag())
        common: dict[str, Any] = {
            "encoder": encoder,
            "reference": reference,
            "seeds": seeds,
            "units": self.cases.units,
            "higher_is_better": self.higher_is_better,
            "margin": margin(self.metric, len(self.cases)),
        }
        if not seeds:
            gap = Estimate(value=float(np.mean(a.values) - np.mean(b.values)))
            return Comparison(**common, estimate=gap, flags=flags)
        estimate = self._difference(a, b, seeds)
        flags = (*flags, *estimate.flags)
        if Flag(Code.N2) in flags:
            return Comparison(**common, estimate=Estimate(value=estimate.value), flags=flags)
        row = Comparison(**common, estimate=estimate, flags=flags)
        return row if blocks(flags) or estimate.se is None else self._tested(row, a, b)

    def _tested(self, row: Comparison, a: Cell, b: Cell) -> Comparison:
        """Fill in what a testable difference allows to say."""
        estimate = row.estimate
        assert estimate.se is not None
        row = replace(
            row,
            p=estimate.p(),
            tost_p=None if row.margin is None else estimate.tost(row.margin),
            detectable=detectable(estimate.se, estimate.test_df or estimate.df),
        )
        if len(row.seeds) < 2:
            return row
        mine, theirs = self._values(a, row.seeds), self._values(b, row.seeds)
        gaps = np.round(mine - theirs, ROUNDING)
        return replace(row, seeds_only=paired(mine, theirs), effect=cohen_paired(gaps))

    def _corrected(self, rows: list[Comparison], method: str, alpha: float) -> list[Comparison]:
        p_values = [row.p for row in rows]
        adjust = holm if method == "holm" else benjamini_hochberg
        m = family_size(p_values)
        out = []
        for row, p in zip(rows, adjust(p_values), strict=True):
            sign = 1 if self.higher_is_better else -1
            verdict = decide(sign * row.estimate.value, p, row.tost_p, row.flags, alpha)
            done = replace(row, p_adjusted=p, family=m, correction=method, verdict=verdict)
            out.append(self._believed(done, alpha))
        return out

    def _believed(self, row: Comparison, alpha: float) -> Comparison:
        """Withdraw the lead of an encoder with failed runs, unless it also leads with them.

        With `chance`, failed runs count at chance level, tested at the family's strictest level.
        """
        leader = {Verdict.BETTER: row.encoder, Verdict.WORSE: row.reference}.get(row.verdict)
        if leader is None or not self.cells[leader].failed:
            return row
        if self.chance is not None:
            a, b = self.cells[row.encoder], self.cells[row.reference]
            seeds = sorted({*row.seeds, *a.failed, *b.failed})
            seeds = [s for s in seeds if _known(a, s) and _known(b, s)]
            values = self._values(a, seeds) - self._values(b, seeds)
            gaps = self._rows(a.encoder, seeds) - self._rows(b.encoder, seeds)
            filled = crossed_bootstrap(values, gaps, self.cases.units)
            p = filled.p()
            same = filled.value * row.estimate.value > 0
            if same and p is not None and p * row.family < alpha:
                return row
        return replace(row, verdict=Verdict.NOT_TESTABLE)

    def _values(self, cell: Cell, seeds: Sequence[int]) -> Floats:
        """Return the metric of some seeds [S]; failed ones at chance."""
        known = dict(zip(cell.seeds, cell.values, strict=True))
        return np.array([known.get(seed, self.chance) for seed in seeds], dtype=np.float64)

    def _rows(self, encoder: str, seeds: Sequence[int]) -> Floats:
        """Return the resampled metric of some seeds [R, S]; failed ones at chance."""
        cell, rows = self.cells[encoder], self.resampled(encoder)
        chance = np.full(len(rows), np.nan if self.chance is None else self.chance)
        columns = dict(zip(cell.seeds, rows.T, strict=True))
        return np.stack([columns.get(seed, chance) for seed in seeds], axis=1)

    def _cluster_flag(self) -> tuple[Flag, ...]:
        return () if self.cases.groups is not None else (Flag(Code.CLUSTER_UNKNOWN),)

    def _wilson(self, cell: Cell) -> tuple[float, float] | None:
        """Return Wilson's interval of a share that does not vary (all cases right, or all wrong)."""
        share = cell.values[0]
        if not isinstance(cell.statistic, CaseMeans) or share not in (0.0, 1.0):
            return None
        n = self.cases.units
        found = stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def _common(a: Cell, b: Cell) -> tuple[int, ...]:
    return tuple(sorted(set(a.seeds) & set(b.seeds)))


def _known(cell: Cell, seed: int) -> bool:
    return seed in cell.seeds or seed in cell.failed
