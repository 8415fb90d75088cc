"""One column judged: means, intervals, ties, verdicts; `stats` does the mathematics.

All pairs of a column are one family, corrected by Holm's method: the best encoder is chosen by
looking at the results, and a family that holds every pair is honest about that choice. A named
reference is chosen before, so its family is the smaller one of the comparisons with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from omnibench_leaderboard import seeds_only
from omnibench_leaderboard.board import Comparison
from omnibench_leaderboard.stats import comparison as tested
from omnibench_leaderboard.stats.comparison import decide
from omnibench_leaderboard.stats.flags import ALPHA, Verdict
from omnibench_leaderboard.stats.multiplicity import family_size, holm
from omnibench_leaderboard.stats.panel import Panel
from omnibench_leaderboard.stats.ranks import statistical_ranks

CROSSED = "crossed seeds x cases"
PAIRED = "paired t over seeds"
OPPOSITE = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What statistics found in one column.

    Args:
        method: How encoders were compared.
        intervals: 95 % of every encoder's mean, by label in the column's order.
        flags: What a reader must know of every encoder.
        pairs: All pairs, not yet corrected by Holm's method.
        against: Every other encoder beside the reference, if one was named.
    """

    method: str
    intervals: Mapping[str, tuple[float, float] | None]
    flags: Mapping[str, tuple[str, ...]]
    pairs: Sequence[tested.Comparison]
    against: Sequence[tested.Comparison] = ()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of one encoder in one column, in the board's terms."""

    interval: tuple[float, float] | None = None
    tied: bool = False
    rank_interval: tuple[int, int] | None = None
    against_best: Comparison | None = None
    against_reference: Comparison | None = None
    flags: tuple[str, ...] = ()


def from_panel(panel: Panel, reference: str | None) -> Findings:
    """Return what seeds and cases together say."""
    labels = list(panel.cells)
    standings = {label: panel.standing(label) for label in labels}
    compared = len(labels) > 1
    return Findings(
        method=CROSSED,
        intervals={label: standing.interval for label, standing in standings.items()},
        flags={label: tuple(map(str, s.flags)) for label, s in standings.items()},
        pairs=panel.all_pairs() if compared else (),
        against=panel.against(reference) if compared and reference in labels else (),
    )


def from_seeds(
    cells: Mapping[str, seeds_only.SeedValues], higher_is_better: bool, reference: str | None
) -> Findings:
    """Return what seeds alone say."""
    others = [label for label in cells if label != reference] if reference in cells else []
    return Findings(
        method=PAIRED,
        intervals={label: seeds_only.interval([*c.values.values()]) for label, c in cells.items()},
        flags={label: (seeds_only.SEEDS_ONLY,) for label in cells},
        pairs=seeds_only.all_pairs(cells, higher_is_better),
        against=[
            seeds_only.compare(cells, label, str(reference), higher_is_better) for label in others
        ],
    )


def judge(findings: Findings, best: str) -> dict[str, Judgement]:
    """Judge every encoder of a column.

    Args:
        findings: What statistics found.
        best: Label of the encoder with the best mean.
    """
    labels, pairs = list(findings.intervals), family_wise(findings.pairs)
    won = _won(pairs)
    ranks = statistical_ranks([[(a, b) in won for b in labels] for a in labels])
    beside_best = {row.encoder: row for row in map(partial(_beside, best), pairs) if row}
    beside_reference = {row.encoder: row for row in family_wise(findings.against)}
    return {
        label: Judgement(
            interval=findings.intervals[label],
            tied=(best, label) not in won,
            rank_interval=rank,
            against_best=_told(beside_best.get(label), findings.method),
            against_reference=_told(beside_reference.get(label), findings.method),
            flags=findings.flags[label],
        )
        for label, rank in zip(labels, ranks, strict=True)
    }


def family_wise(rows: Sequence[tested.Comparison], alpha: float = ALPHA) -> list[tested.Comparison]:
    """Correct a family by Holm's method, and decide anew.

    A lead that was withdrawn because of failed runs stays withdrawn.
    """
    p_values = [row.p for row in rows]
    family = family_size(p_values)
    out = []
    for row, p in zip(rows, holm(p_values), strict=True):
        sign = 1 if row.higher_is_better else -1
        verdict = decide(sign * row.estimate.value, p, row.tost_p, row.flags, alpha)
        if row.correction and row.verdict is Verdict.NOT_TESTABLE:
            verdict = Verdict.NOT_TESTABLE
        out.append(replace(row, p_adjusted=p, family=family, correction="holm", verdict=verdict))
    return out


def told(row: tested.Comparison, method: str) -> Comparison:
    """Return a comparison in the board's terms."""
    flags = tuple(map(str, row.flags))
    return Comparison(
        other=row.reference,
        difference=row.estimate.value,
        interval=row.interval,
        p=row.p,
        p_adjusted=row.p_adjusted,
        family=row.family,
        method=method,
        verdict=row.verdict.value,
        within_margin=row.within_margin,
        effect=None if row.effect is None else row.effect.g,
        detectable=row.detectable,
        flags=flags if method == CROSSED else (*flags, seeds_only.SEEDS_ONLY),
    )


def _told(row: tested.Comparison | None, method: str) -> Comparison | None:
    return None if row is None else told(row, method)


def _beside(best: str, row: tested.Comparison) -> tested.Comparison | None:
    """Return a comparison with the best as the other encoder sees it."""
    if row.reference == best:
        return row
    if row.encoder != best:
        return None
    effect = row.effect and replace(row.effect, d=-row.effect.d, g=-row.effect.g, interval=None)
    return replace(
        row,
        encoder=row.reference,
        reference=best,
        estimate=replace(row.estimate, value=-row.estimate.value),
        effect=effect,
        seeds_only=None,
        verdict=OPPOSITE.get(row.verdict, row.verdict),
    )


def _won(pairs: Sequence[tested.Comparison]) -> set[tuple[str, str]]:
    """Return who is significantly better than whom."""
    won = {(row.encoder, row.reference) for row in pairs if row.verdict is Verdict.BETTER}
    return won | {(row.reference, row.encoder) for row in pairs if row.verdict is Verdict.WORSE}
