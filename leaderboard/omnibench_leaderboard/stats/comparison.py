"""What is said of one encoder, and of one beside another, on one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnibench_leaderboard.stats.effects import EffectSize
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag, Verdict, blocks
from omnibench_leaderboard.stats.ttests import TTest


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One encoder's metric on one dataset.

    Args:
        encoder: Name.
        values: The metric of every run, in the order of seeds.
        mean: Mean over runs.
        sd: Sample SD over runs (training noise on this test set), None for fewer than three.
        interval: 95 % interval over seeds and cases, None where the data allow none.
        flags: What a reader must know.
    """

    encoder: str
    values: tuple[float, ...]
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One encoder beside another on common seeds and cases; differences are encoder - reference.

    Args:
        encoder: Name.
        reference: Name of the other.
        seeds: Common seeds, from which everything below is computed.
        units: Number of cases, or of clusters where group ids exist.
        estimate: Mean difference with the crossed standard error.
        higher_is_better: Direction of the metric.
        p: Two-sided, not corrected; None where nothing can be tested.
        p_adjusted: Corrected over the family.
        family: Number of hypotheses m in it, 0 before correction.
        correction: `holm` or `bh`.
        margin: Largest difference that counts as none, None where the metric has no margin.
        tost_p: Equivalence within the margin, not corrected.
        seeds_only: Paired t-test over seeds: training noise on this test set.
        effect: Effect size dz of the seeds' differences.
        detectable: Smallest true difference this design finds with 80 % power, uncorrected.
        flags: What a reader must know.
        verdict: One of five.
    """

    encoder: str
    reference: str
    seeds: tuple[int, ...]
    units: int
    estimate: Estimate
    higher_is_better: bool = True
    p: float | None = None
    p_adjusted: float | None = None
    family: int = 0
    correction: str = ""
    margin: float | None = None
    tost_p: float | None = None
    seeds_only: TTest | None = None
    effect: EffectSize | None = None
    detectable: float | None = None
    flags: tuple[Flag, ...] = ()
    verdict: Verdict = Verdict.NOT_TESTABLE

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the difference, not corrected."""
        return self.estimate.interval()

    @property
    def within_margin(self) -> bool:
        """Tell whether the whole 95 % interval lies within the margin."""
        if self.interval is None or self.margin is None:
            return False
        return -self.margin < self.interval[0] and self.interval[1] < self.margin


def seed_flags(common: int, all_seeds: int, deterministic: bool) -> tuple[Flag, ...]:
    """Return what the number of common seeds forbids or warns of."""
    flags: list[Flag] = []
    if common < all_seeds:
        flags.append(Flag(Code.MISSING_RUNS, f"{common}/{all_seeds}"))
    if common == 0:
        flags.append(Flag(Code.NO_COMMON_SEEDS))
    elif common == 1 and not deterministic:
        flags += [Flag(Code.N1), Flag(Code.ONE_HEAD)]
    elif common == 2:
        flags.append(Flag(Code.N2))
    elif 2 < common < 5:
        flags.append(Flag(Code.LOW_N, f"n={common}"))
    return tuple(flags)


def decide(
    advantage: float,
    p_adjusted: float | None,
    tost_p: float | None,
    flags: Sequence[Flag],
    alpha: float = ALPHA,
) -> Verdict:
    """Return the verdict.

    In this order: what cannot be tested; what differs after correction; what is equivalent within
    the margin; the rest.

    Args:
        advantage: The difference, positive where the encoder is better.
        p_adjusted: Corrected p-value of the difference.
        tost_p: p-value of equivalence, None without a margin.
        flags: Those in `flags.BLOCKING` forbid a verdict.
        alpha: Level.
    """
    if p_adjusted is None or blocks(flags):
        return Verdict.NOT_TESTABLE
    if p_adjusted < alpha:
        return Verdict.BETTER if advantage > 0 else Verdict.WORSE
    if tost_p is not None and tost_p < alpha:
        return Verdict.EQUIVALENT
    return Verdict.NOT_SEPARATED
