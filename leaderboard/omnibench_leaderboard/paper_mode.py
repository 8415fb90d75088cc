"""`--stats paper`: the tests of OmniRad, Sec. 5.1, as far as it says which.

Student's and Welch's t-test over runs, two-sided, independent, not corrected (variant, sides and
correction are unstated); the one-sample test where the other side is a single value, and beside it
the test that takes such a value for one run (statistics.md 1.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from omnibench_leaderboard.board import Comparison
from omnibench_leaderboard.stats.effects import cohen
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag, Verdict, blocks
from omnibench_leaderboard.stats.ttests import (
    Summary,
    TTest,
    one_sample,
    single_case,
    student,
    welch,
)


def two_sample(
    a: Sequence[float], b: Sequence[float], reference: str, higher_is_better: bool
) -> list[Comparison]:
    """Compare runs with runs, or with the single run that there is.

    Args:
        a: The encoder's metric, one value a run.
        b: The reference's.
        reference: Its label.
        higher_is_better: Direction of the metric.
    """
    if len(a) < 2:
        gap = sum(a) / len(a) - sum(b) / len(b)
        return [_untestable(gap, reference)]
    mine = Summary.of(a)
    if len(b) < 2:
        return against_value(mine, b[0], reference, higher_is_better)
    tests = (student(mine, Summary.of(b)), welch(mine, Summary.of(b)))
    size = cohen(a, b)
    effect = None if size is None else size.g
    return [_told(t, reference, higher_is_better, effect) for t in tests]


def against_value(
    runs: Summary, value: float, reference: str, higher_is_better: bool
) -> list[Comparison]:
    """Compare runs with a single value: as the truth, and as one run of the same spread."""
    tests = (one_sample(runs, value), single_case(runs, value))
    return [_told(test, reference, higher_is_better, None) for test in tests]


def _told(test: TTest, reference: str, higher_is_better: bool, effect: float | None) -> Comparison:
    estimate = test.estimate
    return Comparison(
        other=reference,
        difference=estimate.value,
        interval=estimate.interval(),
        p=test.p,
        p_adjusted=None,
        family=0,
        method=test.name,
        verdict=_verdict(test, higher_is_better).value,
        within_margin=False,
        effect=effect,
        detectable=None,
        flags=tuple(map(str, estimate.flags)),
    )


def _verdict(test: TTest, higher_is_better: bool) -> Verdict:
    if test.p is None or blocks(test.estimate.flags):
        return Verdict.NOT_TESTABLE
    if test.p >= ALPHA:
        return Verdict.NOT_SEPARATED
    ahead = (test.estimate.value > 0) == higher_is_better
    return Verdict.BETTER if ahead else Verdict.WORSE


def _untestable(difference: float, reference: str) -> Comparison:
    return Comparison(
        other=reference,
        difference=difference,
        interval=None,
        p=None,
        p_adjusted=None,
        family=0,
        method="none",
        verdict=Verdict.NOT_TESTABLE.value,
        within_margin=False,
        effect=None,
        detectable=None,
        flags=(str(Flag(Code.N1)),),
    )
