"""Audit of printed summaries: which run counts can have produced a mean ± SD (GRIM, GRIMMER).

An accuracy over N cases is k / N with a whole k, so the mean of r runs lies on a lattice of step
1 / (r N), and the sum of the squared counts is a whole number. Printed digits that no multiset of r
counts gives are impossible for r runs: copied, from another number of runs, or mistyped. This is
arithmetic about printed digits and says nothing of why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from omnibench.errors import UsageError

RUN_COUNTS = range(2, 11)
# In units of the last printed digit. The released code rounds each run's metric to that digit
# first, then mean and SD are rounded again: half a unit twice for the mean, and up to one and a
# half for the SD.
MEAN_SLACK, SD_SLACK = 1.0, 1.5
POOLED_SLACK = 0.75
LARGEST_SPREAD = 20_000  # sum of squared deviations in counts, beyond which all is possible


class Finding(StrEnum):
    """What one run count can explain."""

    OK = "ok_ddof1"
    POPULATION_SD = "ok_ddof0"
    SD_IMPOSSIBLE = "mean_ok_std_impossible"
    MEAN_IMPOSSIBLE = "mean_impossible"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found for each run count.

    Args:
        findings: Run count to finding.
    """

    findings: dict[int, Finding]

    @property
    def possible(self) -> tuple[int, ...]:
        """Run counts that explain mean and sample SD (n - 1)."""
        return tuple(r for r, finding in self.findings.items() if finding is Finding.OK)


def audit_accuracy(
    mean: float, sd: float, cases: int, *, runs: Sequence[int] = RUN_COUNTS, decimals: int = 2
) -> Audit:
    """Tell which run counts can have produced a printed accuracy.

    Args:
        mean: As printed, in percent, in [0, 100].
        sd: As printed, in percent, >= 0.
        cases: Number of test cases N >= 1.
        runs: Run counts to try, each >= 2.
        decimals: Printed digits after the point.

    Raises:
        UsageError: For numbers that cannot be an accuracy, or run counts below 2.
    """
    finite = math.isfinite(mean) and math.isfinite(sd)
    if not finite or not 0 <= mean <= 100 or sd < 0 or cases < 1 or min(runs, default=0) < 2:
        raise UsageError(
            f"{mean} ± {sd} over {cases} cases and run counts {list(runs)}: a mean in [0, 100], an "
            "SD >= 0, at least one case and run counts from 2 were expected"
        )
    return Audit(findings={r: _finding(mean, sd, cases, r, 10.0**-decimals) for r in runs})


def _finding(mean: float, sd: float, cases: int, runs: int, digit: float) -> Finding:
    unit = 100 / cases
    slack, sd_slack = MEAN_SLACK * digit, SD_SLACK * digit / unit
    low = max(0, math.ceil(_tight((mean - slack) * runs / unit)))
    high = min(runs * cases, math.floor(_tight((mean + slack) * runs / unit, up=True)))
    if low > high:
        return Finding.MEAN_IMPOSSIBLE
    for ddof, finding in ((1, Finding.OK), (0, Finding.POPULATION_SD)):
        for total in range(low, high + 1):
            if _has_spread(total, runs, cases, sd / unit, sd_slack, ddof):
                return finding
    return Finding.SD_IMPOSSIBLE


def _has_spread(total: int, runs: int, cases: int, sd: float, slack: float, ddof: int) -> bool:
    """Tell whether counts with this total have an SD within the slack, in units of one case."""
    base, rest = divmod(total, runs)
    # Sum of squares about the base: deviations e of the counts add up to rest.
    offset = rest**2 / runs
    low = max(0.0, sd - slack) ** 2 * (runs - ddof) + offset
    high = (sd + slack) ** 2 * (runs - ddof) + offset
    first, last = math.ceil(_tight(low)), math.floor(_tight(high, up=True))
    if last > LARGEST_SPREAD:
        return True
    squares = _reachable(runs, rest, last, -base, cases - base)
    return squares >> first != 0


@cache
def _reachable(runs: int, total: int, largest: int, least: int, most: int) -> int:
    """Return the reachable sums of squares of `runs` whole numbers adding up to `total`.

    Args:
        runs: How many numbers.
        total: Their sum.
        largest: Largest sum of squares of interest.
        least: Smallest value of a number.
        most: Largest value of a number.

    Returns:
        A set of sums as the bits of an integer: bit q is set where q is reachable.
    """
    bound = math.isqrt(largest)
    values = range(max(-bound, least), min(bound, most) + 1)
    mask = (1 << (largest + 1)) - 1
    sums: dict[int, int] = {0: 1}
    for left in range(runs - 1, -1, -1):
        after: dict[int, int] = {}
        for partial, squares in sums.items():
            for value in values:
                missing = total - partial - value
                # Cauchy-Schwarz: the numbers left cannot make up for more than this.
                if missing**2 > left * largest:
                    continue
                shifted = (squares << value * value) & mask
                if shifted:
                    after[partial + value] = after.get(partial + value, 0) | shifted
        sums = after
    return sums.get(total, 0)


def _tight(x: float, up: bool = False) -> float:
    """Move a bound outward by float noise, so that equality counts as inside."""
    noise = 1e-9 * max(1.0, abs(x))
    return x + noise if up else x - noise


def pooled_sd(means: Sequence[float], sds: Sequence[float], runs: int) -> float:
    """Return the sample SD of all runs of all datasets pooled, from their means and SDs.

    What OmniRad's Table 11 prints after ±: sqrt((r sum (m_d - M)^2 + (r - 1) sum s_d^2) / (D r - 1)).

    Args:
        means: Mean of each dataset [D].
        sds: Sample SD of each dataset [D].
        runs: Number of runs r of each dataset.
    """
    centre = math.fsum(means) / len(means)
    between = runs * math.fsum((m - centre) ** 2 for m in means)
    within = (runs - 1) * math.fsum(s**2 for s in sds)
    return math.sqrt((between + within) / (len(means) * runs - 1))


def audit_pooled(
    sd: float,
    means: Sequence[float],
    sds: Sequence[float],
    *,
    runs: Sequence[int] = range(1, 11),
    decimals: int = 2,
) -> tuple[int, ...]:
    """Return the run counts whose pooled SD is the printed one.

    Args:
        sd: As printed for the average over datasets.
        means: As printed for each dataset.
        sds: As printed for each dataset.
        runs: Run counts to try.
        decimals: Printed digits after the point.

    Raises:
        UsageError: If means and SDs are not as many, or fewer than two.
    """
    if len(means) != len(sds) or len(means) < 2:
        raise UsageError(f"{len(means)} means and {len(sds)} SDs; as many, two or more, are needed")
    slack = POOLED_SLACK * 10.0**-decimals
    return tuple(r for r in runs if abs(pooled_sd(means, sds, r) - sd) <= slack)
