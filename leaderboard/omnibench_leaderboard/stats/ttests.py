"""The paper's tests (OmniRad, Sec. 5): t-tests over runs, also from printed mean and SD.

Which variant the paper used is unstated, so Student's and Welch's are both given: two-sided,
independent, not corrected. Against one printed value the paper used a one-sample test, which takes
that value for the truth; the single-case test beside it (Crawford and Howell, 1998) takes it for
one run. Only t-tests whose runs vary have a p-value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import Code, Flag

LOW_N = 5
NOISE = 1e-10


@dataclass(frozen=True, kw_only=True)
class TTest:
    """One t-test: the estimate of the difference, and its t."""

    name: str
    estimate: Estimate

    @property
    def t(self) -> float | None:
        """Return the t statistic, None where there is no variance."""
        return None if self.estimate.se is None else self.estimate.value / self.estimate.se

    @property
    def p(self) -> float | None:
        """Return the two-sided p-value, never 0, None where there is no variance."""
        return self.estimate.p()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean and SD over n runs.

    Args:
        mean: On any scale.
        sd: Sample standard deviation (n - 1), >= 0.
        n: Number of runs, >= 2. The caller says it: papers are often silent or wrong about it.
    """

    mean: float
    sd: float
    n: int

    def __post_init__(self) -> None:
        """Check that a t-test can be made of it."""
        if self.n < 2:
            raise UsageError(
                f"mean {self.mean} of {self.n} run(s) has no spread; compare it as a single value"
            )
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd >= 0):
            raise UsageError(f"mean {self.mean} and SD {self.sd}: finite, SD >= 0 was expected")

    @classmethod
    def of(cls, runs: npt.ArrayLike) -> Summary:
        """Summarise runs [n]."""
        values = _runs(runs)
        return cls(mean=float(values.mean()), sd=_sd(values), n=len(values))


def student(a: Summary, b: Summary) -> TTest:
    """Compare independent runs, with one variance for both."""
    df = a.n + b.n - 2
    pooled = ((a.n - 1) * a.sd**2 + (b.n - 1) * b.sd**2) / df
    return _test("student", a.mean - b.mean, pooled * (1 / a.n + 1 / b.n), df, min(a.n, b.n))


def welch(a: Summary, b: Summary) -> TTest:
    """Compare independent runs, each with a variance of its own (Welch-Satterthwaite)."""
    first, second = a.sd**2 / a.n, b.sd**2 / b.n
    variance = first + second
    parts = first**2 / (a.n - 1) + second**2 / (b.n - 1)
    df = variance**2 / parts if parts > 0 else math.nan
    return _test("welch", a.mean - b.mean, variance, df, min(a.n, b.n))


def paired(a: npt.ArrayLike, b: npt.ArrayLike) -> TTest:
    """Compare runs of common seeds [n]: training noise on this test set only."""
    first, second = _runs(a), _runs(b)
    if first.shape != second.shape:
        raise UsageError(f"{len(first)} and {len(second)} runs cannot be paired by seed")
    d = first - second
    n = len(d)
    return _test("paired", float(d.mean()), _sd(d) ** 2 / n, n - 1, n)


def one_sample(a: Summary, value: float) -> TTest:
    """Compare runs with a value that is taken for the truth (the paper's choice)."""
    return _test("one-sample", a.mean - value, a.sd**2 / a.n, a.n - 1, a.n)


def single_case(a: Summary, value: float) -> TTest:
    """Compare runs with a value that is one run itself, of the same spread."""
    return _test("single-case", a.mean - value, a.sd**2 * (1 + 1 / a.n), a.n - 1, a.n)


def _test(name: str, difference: float, variance: float, df: float, n: int) -> TTest:
    flags: tuple[Flag, ...] = (Flag(Code.LOW_N, f"n={n}"),) if n < LOW_N else ()
    if variance <= 0:
        code = Code.ZERO_VAR if difference else Code.IDENTICAL
        return TTest(name=name, estimate=Estimate(value=difference, flags=(*flags, Flag(code))))
    estimate = Estimate(value=difference, se=math.sqrt(variance), df=df, flags=flags)
    return TTest(name=name, estimate=estimate)


def _runs(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 1 or len(runs) < 2 or not np.isfinite(runs).all():
        raise UsageError(
            f"runs of shape {runs.shape}: at least two finite values were expected; leave failed "
            "runs out of both encoders"
        )
    return runs


def _sd(values: npt.NDArray[np.float64]) -> float:
    """Return the sample SD; exactly 0 where values differ by float noise only."""
    return 0.0 if float(np.ptp(values)) < NOISE else float(values.std(ddof=1))
