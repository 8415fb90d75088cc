"""Two encoders across datasets: blocks are datasets, entries means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.bayes import Posterior, signed_rank
from omnibench_leaderboard.stats.effects import hodges_lehmann, walsh_interval
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag, Verdict, blocks
from omnibench_leaderboard.stats.multiplicity import holm
from omnibench_leaderboard.stats.permutation import ROUNDING, sign_flip, sign_floor
from omnibench_leaderboard.stats.statistic import Floats
from omnibench_leaderboard.stats.ttests import Summary, one_sample

MIN_DATASETS = 6  # with five pairs no two-sided p can be below 0.0625
EXACT_WILCOXON = 50


@dataclass(frozen=True, kw_only=True)
class SignedRank:
    """A test of paired differences across datasets.

    Args:
        method: `wilcoxon`, or `sign-flip` where zeros or ties make the former inexact.
        p: Two-sided, in (0, 1].
        floor: The smallest p that so many datasets can give.
    """

    method: str
    p: float
    floor: float


@dataclass(frozen=True, kw_only=True)
class AcrossDatasets:
    """One encoder against another on the datasets that both have.

    Args:
        encoder: Name.
        reference: Name of the other.
        datasets: Number of datasets n.
        wins: Datasets on which the encoder's mean is higher.
        ties: Datasets with equal means.
        losses: The rest.
        mean: Mean difference with its t interval, which takes datasets for a random sample.
        hodges_lehmann: Median of the Walsh averages.
        walsh: Its exact 95 % interval.
        test: Wilcoxon's test or the sign flip.
        p_adjusted: Holm over the family; None where there is no test.
        family: Number of hypotheses m in it.
        tost_p: Equivalence of the mean within the margin.
        margin: Largest difference that counts as none.
        posterior: Bayesian signed-rank probabilities at the margin.
        verdict: One of five.
        flags: What a reader must know.
    """

    encoder: str
    reference: str
    datasets: int
    wins: int
    ties: int
    losses: int
    mean: Estimate | None
    hodges_lehmann: float
    walsh: tuple[float, float] | None
    test: SignedRank
    p_adjusted: float | None = None
    family: int = 0
    tost_p: float | None = None
    margin: float | None = None
    posterior: Posterior | None = None
    verdict: Verdict = Verdict.NOT_TESTABLE
    flags: tuple[Flag, ...] = ()


def wilcoxon(differences: npt.ArrayLike, content: Sequence[str] = ()) -> SignedRank:
    """Test paired differences: Wilcoxon's exact test, or the sign flip with zeros or ties."""
    d = np.round(np.asarray(differences, dtype=np.float64), ROUNDING)
    sizes = np.abs(d)
    clean = bool((sizes > 0).all()) and len(np.unique(sizes)) == len(sizes)
    if clean and len(d) <= EXACT_WILCOXON:
        floor = sign_floor(len(d))
        # The exact tail has been returned as 0 for long vectors.
        p = max(float(stats.wilcoxon(d, method="exact").pvalue), floor)
        return SignedRank(method="wilcoxon", p=p, floor=floor)
    found = sign_flip(d, content)
    return SignedRank(method="sign-flip", p=found.p, floor=found.floor)


def compare_across(
    scores: Mapping[str, npt.ArrayLike],
    reference: str,
    *,
    higher_is_better: bool = True,
    margin: float | None = None,
    content: Sequence[str] = (),
    alpha: float = ALPHA,
) -> list[AcrossDatasets]:
    """Compare every encoder with the reference across datasets; Holm over the family.

    Args:
        scores: Means over seeds of every encoder [N], on the same datasets in the same order.
        reference: Name of one of them, chosen before results were seen.
        higher_is_better: Direction of the metric.
        margin: Largest difference that counts as none, and half-width of the Bayesian region.
        content: Digests from which random draws derive.
        alpha: Level of the family.

    Raises:
        UsageError: For an unknown reference, a single encoder or missing scores.
    """
    table = checked_table(scores, reference)
    sign = 1.0 if higher_is_better else -1.0
    rows = [
        _row(name, reference, sign * (values - table[reference]), margin, content)
        for name, values in table.items()
        if name != reference
    ]
    adjusted = holm([None if blocks(row.flags) else row.test.p for row in rows])
    family = sum(p is not None for p in adjusted)
    return [
        replace(row, p_adjusted=p, family=family, verdict=_verdict(row, p, alpha))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def checked_table(scores: Mapping[str, npt.ArrayLike], reference: str) -> dict[str, Floats]:
    """Return the scores as arrays of equal length, or raise `UsageError`."""
    table = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    if reference not in table:
        raise UsageError(f"no encoder {reference!r} to compare with; there are {', '.join(table)}")
    if len(table) < 2:
        raise UsageError(f"only {reference!r} is there: a comparison needs two encoders")
    sizes = sorted({len(values) for values in table.values()})
    if len(sizes) > 1 or sizes[0] == 0:
        raise UsageError(f"encoders have {sizes} datasets; keep those that all of them have")
    lacking = [name for name, values in table.items() if not np.isfinite(values).all()]
    if lacking:
        raise UsageError(f"scores are missing for {', '.join(lacking)}; see `complete`")
    return table


def complete(scores: npt.ArrayLike) -> tuple[list[int], list[int]]:
    """Return which datasets and encoders form a complete table: nothing is ever imputed.

    Incomplete encoders are dropped first, the emptiest one by one, as long as that keeps more
    cells than dropping the datasets they lack.

    Args:
        scores: Means over seeds [N, k], NaN where there is no cell.

    Returns:
        Positions of datasets and of encoders, both ascending.
    """
    here = np.isfinite(np.asarray(scores, dtype=np.float64))
    rows, columns = list(range(here.shape[0])), list(range(here.shape[1]))
    best: tuple[list[int], list[int]] = ([], [])
    while columns:
        kept = [r for r in rows if here[r, columns].all()]
        if len(kept) * len(columns) > len(best[0]) * len(best[1]):
            best = (kept, list(columns))
        counts = here[:, columns].sum(axis=0)
        columns.pop(int(np.argmin(counts)))
    return best


def _row(
    encoder: str, reference: str, d: Floats, margin: float | None, content: Sequence[str]
) -> AcrossDatasets:
    d = np.round(d, ROUNDING)
    flags: tuple[Flag, ...] = ()
    if len(d) < MIN_DATASETS:
        flags = (Flag(Code.FEW_DATASETS, f"{len(d)}"),)
    if not d.any():
        flags = (*flags, Flag(Code.IDENTICAL))
    test = wilcoxon(d, [encoder, reference, *content])
    if not blocks(flags) and test.p <= test.floor:
        flags = (*flags, Flag(Code.FLOOR, f"{test.floor:.2g}"))
    mean = one_sample(Summary.of(d), 0.0).estimate if len(d) > 1 else None
    posterior = None
    if margin is not None and not blocks(flags):
        posterior = signed_rank(d, margin, [encoder, reference, *content])
    return AcrossDatasets(
        encoder=encoder,
        reference=reference,
        datasets=len(d),
        wins=int((d > 0).sum()),
        ties=int((d == 0).sum()),
        losses=int((d < 0).sum()),
        mean=mean,
        hodges_lehmann=hodges_lehmann(d),
        walsh=walsh_interval(d),
        test=test,
        tost_p=None if mean is None or margin is None else mean.tost(margin),
        margin=margin,
        posterior=posterior,
        flags=flags,
    )


def _verdict(row: AcrossDatasets, p: float | None, alpha: float) -> Verdict:
    if p is None:
        return Verdict.NOT_TESTABLE
    if p < alpha:
        return Verdict.BETTER if row.hodges_lehmann > 0 else Verdict.WORSE
    if row.tost_p is not None and row.tost_p < alpha:
        return Verdict.EQUIVALENT
    return Verdict.NOT_SEPARATED
