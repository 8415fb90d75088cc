"""Caption metrics as functions of which cases are drawn.

Corpus BLEU is a function of n-gram counts summed over captions (never a mean of sentence scores):
totals are [..., 10], the matches of orders 1-4, the totals of orders 1-4, the length of the
captions and of their references. Definition: Papineni et al. (2002) as sacrebleu computes it without
smoothing; an order without a match gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from omnibench.errors import IntegrityError
from omnibench_leaderboard.stats.statistic import CaseCounts, Floats, Statistic

COLUMNS = 10


def from_ngrams(metric: str, counts: Sequence[npt.ArrayLike]) -> Statistic | None:
    """Return the statistic of a BLEU id, or None for an id that is not one of these.

    Args:
        metric: `bleu`, cumulative `bleu_1` to `bleu_3`, precisions `p1` to `p4`, or `bp`.
        counts: For every run, whole numbers [N, 10].

    Raises:
        IntegrityError: If these are not such counts.
    """
    if metric not in FORMULAS:
        return None
    runs = [np.asarray(each, dtype=np.float64) for each in counts]
    for each in runs:
        whole = each.ndim == 2 and each.shape[1] == COLUMNS and (each == np.floor(each)).all()
        if not whole or each.size == 0 or (each < 0).any():
            raise IntegrityError(
                f"n-gram counts of shape {each.shape}: whole numbers [captions, {COLUMNS}] "
                "were expected; run the cell again"
            )
    return CaseCounts(runs, FORMULAS[metric])


def _precisions(totals: Floats) -> Floats:
    """Return the n-gram precisions [..., 4], 0 where there are no n-grams."""
    matches, all_ngrams = totals[..., :4], totals[..., 4:8]
    precisions: Floats = np.divide(
        matches, all_ngrams, out=np.zeros_like(matches), where=all_ngrams > 0
    )
    return precisions


def _brevity(totals: Floats) -> Floats:
    """Return the brevity penalty [...] in [0, 1]."""
    length, reference = totals[..., 8], totals[..., 9]
    with np.errstate(divide="ignore"):
        penalty = np.exp(np.minimum(0.0, 1.0 - reference / np.maximum(length, 1e-300)))
    return np.asarray(penalty)


def _bleu(order: int) -> Callable[[Floats], Floats]:
    def formula(totals: Floats) -> Floats:
        precisions = _precisions(totals)[..., :order]
        with np.errstate(divide="ignore"):
            mean = np.exp(np.log(precisions).mean(axis=-1))
        return np.asarray(_brevity(totals) * mean)

    return formula


def _precision(order: int) -> Callable[[Floats], Floats]:
    return lambda totals: _precisions(totals)[..., order - 1]


FORMULAS: dict[str, Callable[[Floats], Floats]] = {
    "bleu": _bleu(4),
    **{f"bleu_{order}": _bleu(order) for order in (1, 2, 3)},
    **{f"p{order}": _precision(order) for order in (1, 2, 3, 4)},
    "bp": _brevity,
}
