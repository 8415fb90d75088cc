"""The verdict on one printed number, by a test of equivalence with what its digits leave open.

Equivalence is tested first: a mean shown to lie within the margin is reproduced, however small a
difference the runs would resolve. Verdicts are not corrected for their number: of many printed
numbers that hold, up to one in twenty may be said to differ.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import ALPHA
from omnibench_leaderboard.stats.rounding import Printed
from omnibench_leaderboard.stats.ttests import Summary, single_case, welch

DECIMALS = 2  # digits after the point of a printed number
HALF = 0.5 * 10.0**-DECIMALS


class Outcome(StrEnum):
    """What is said about a printed number."""

    MATCHES = "matches"
    DIFFERS = "differs"
    # Neither test decides: too few runs, or too much noise on either side for the margin.
    UNDECIDED = "undecided"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Test:
    """What tests say of own runs beside a printed number, on the printed scale.

    Args:
        outcome: Matches, differs or undecided.
        reason: Why it is undecided.
        difference: Own mean minus the printed one.
        interval: 95 %, of the printed digits as they stand.
        equivalence: Largest p of the two one-sided tests over all that the digits allow.
        p: Largest p of the test of a difference over the same.
    """

    outcome: Outcome
    reason: str = ""
    difference: float
    interval: tuple[float, float] | None = None
    equivalence: float | None = None
    p: float | None = None


def beside_runs(
    own: Sequence[float], value: float, sd: float, counts: Sequence[int], margin: float | None
) -> Test:
    """Compare runs with a printed mean ± SD (Welch), for every run count it may stand for.

    Args:
        own: One value a run, at least two.
        value: The printed mean.
        sd: The printed SD, over runs.
        counts: Run counts that may stand behind it, the stated one first.
        margin: Largest difference that counts as none.
    """
    mine = Summary.of(own)
    told = [Printed(summary=Summary(mean=value, sd=sd, n=n), decimals=DECIMALS) for n in counts]
    corners = [welch(mine, corner).estimate for box in told for corner in box.corners()]
    return _decided(welch(mine, told[0].summary).estimate, corners, margin)


def beside_value(own: Sequence[float], value: float, margin: float | None) -> Test:
    """Compare runs with a printed single value, taken for one run of the same spread."""
    mine = Summary.of(own)
    corners = [single_case(mine, edge).estimate for edge in (value - HALF, value + HALF)]
    return _decided(single_case(mine, value).estimate, corners, margin)


def beside_pool(own: Mapping[str, Sequence[float]], value: float, margin: float | None) -> Test:
    """Compare runs on several datasets with a printed mean over all of them.

    The printed SD is mostly that between datasets, which are the same here: the printed mean's
    own noise is not told, and is taken to be that of our runs.

    Args:
        own: One value a run, at least two, by dataset.
        value: The printed mean.
        margin: Largest difference that counts as none.
    """
    mean = statistics.fmean(statistics.fmean(runs) for runs in own.values())
    parts = [(statistics.variance(r) / len(r) / len(own) ** 2, len(r) - 1) for r in own.values()]
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    se = math.sqrt(2 * variance) if variance > 0 else None
    df = variance**2 / spread if spread > 0 else math.inf
    middle, *corners = (
        Estimate(value=mean - edge, se=se, df=df) for edge in (value, value - HALF, value + HALF)
    )
    return _decided(middle, corners, margin)


def pooled(own: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Return mean and SD over all runs of all datasets, as OmniRad's Table 11 has them."""
    runs = [value for values in own.values() for value in values]
    return statistics.fmean(runs), statistics.stdev(runs)


def single_run(own: float, value: float) -> Test:
    """Say what one run is beside a printed number: a difference without a spread."""
    return Test(
        outcome=Outcome.UNDECIDED,
        reason="one run has no spread; run more seeds",
        difference=own - value,
    )


def _decided(middle: Estimate, corners: Sequence[Estimate], margin: float | None) -> Test:
    """Decide what every corner of the box agrees about."""
    p_values = [p for corner in corners if (p := corner.p()) is not None]
    if len(p_values) < len(corners):
        reason = "runs do not vary, so nothing can be tested"
        return Test(outcome=Outcome.UNDECIDED, reason=reason, difference=middle.value)
    same_side = len({corner.value > 0 for corner in corners}) == 1
    tost = None
    if margin is not None:
        tost = max(p for corner in corners if (p := corner.tost(margin)) is not None)
    outcome, reason = Outcome.UNDECIDED, ""
    if tost is not None and tost < ALPHA:
        outcome = Outcome.MATCHES
    elif max(p_values) < ALPHA and same_side:
        outcome = Outcome.DIFFERS
    elif margin is None:
        reason = "no difference is shown, and this metric has no margin of equivalence"
    else:
        reason = f"neither a difference nor equality within ±{margin:.2f} is shown; more runs may"
    return Test(
        outcome=outcome,
        reason=reason,
        difference=middle.value,
        interval=middle.interval(),
        equivalence=tost,
        p=max(p_values) if same_side else 1.0,
    )
