"""What printed digits still allow: a mean and an SD printed to two decimals are boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag, Verdict, blocks
from omnibench_leaderboard.stats.ttests import Summary, TTest

TwoSample = Callable[[Summary, Summary], TTest]
OneSample = Callable[[Summary, float], TTest]


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A mean ± SD over n runs as printed.

    Args:
        summary: The printed numbers.
        decimals: Digits after the point, of both.
    """

    summary: Summary
    decimals: int = 2

    def corners(self) -> list[Summary]:
        """Return the four corners of what rounds to these digits; no SD is below 0."""
        half = 0.5 * 10.0**-self.decimals
        s = self.summary
        return [
            replace(s, mean=mean, sd=sd)
            for mean in (s.mean - half, s.mean + half)
            for sd in (max(0.0, s.sd - half), s.sd + half)
        ]


@dataclass(frozen=True, kw_only=True)
class BoxedTest:
    """A t-test of printed numbers, and the p-values that their rounding allows.

    Args:
        test: The test of the printed digits as they stand.
        low: Smallest p within the boxes, None where a corner has no variance.
        high: Largest p within the boxes.
    """

    test: TTest
    low: float | None
    high: float | None

    def verdict(self, alpha: float = ALPHA) -> tuple[Verdict, tuple[Flag, ...]]:
        """Return what may be said, and its flags; a box that straddles alpha decides nothing."""
        flags = self.test.estimate.flags
        if blocks(flags) or self.test.p is None:
            return Verdict.NOT_TESTABLE, flags
        if self.low is None or self.high is None or self.low < alpha <= self.high:
            return Verdict.NOT_TESTABLE, (*flags, Flag(Code.ROUNDING))
        if self.low >= alpha:
            return Verdict.NOT_SEPARATED, flags
        return (Verdict.BETTER if self.test.estimate.value > 0 else Verdict.WORSE), flags


def boxed(test: TwoSample, a: Printed, b: Printed) -> BoxedTest:
    """Test two printed summaries with their rounding."""
    tests = [test(x, y) for x, y in product(a.corners(), b.corners())]
    return _boxed(test(a.summary, b.summary), tests)


def boxed_value(test: OneSample, a: Printed, value: float, decimals: int = 2) -> BoxedTest:
    """Test a printed summary against a printed single value, with the rounding of both."""
    half = 0.5 * 10.0**-decimals
    tests = [test(x, y) for x, y in product(a.corners(), (value - half, value + half))]
    return _boxed(test(a.summary, value), tests)


def _boxed(test: TTest, corners: list[TTest]) -> BoxedTest:
    p_values = [corner.p for corner in corners if corner.p is not None]
    if len(p_values) < len(corners) or not p_values:
        return BoxedTest(test=test, low=None, high=max(p_values, default=None))
    values = [corner.estimate.value for corner in corners]
    high = 1.0 if min(values) <= 0 <= max(values) else max(p_values)
    return BoxedTest(test=test, low=min(p_values), high=high)
