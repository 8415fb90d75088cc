"""Corpus BLEU from n-gram counts of each case, as sacrebleu defines them.

Tokenizer 13a, case matters, no smoothing: with no common 4-gram in the whole corpus BLEU is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU

from omnibench.interfaces import Metric

Ints = npt.NDArray[np.int64]
ORDER = 4
COLUMNS = 2 * ORDER + 2  # matches 1-4, totals 1-4, length of caption, length of reference


def counts(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Ints:
    """Return what corpus BLEU needs of each case: sums of rows are exact for any set of cases.

    Args:
        captions: N texts, possibly empty.
        references: For each of them one or more texts.

    Returns:
        int64 [N, 10]: matching 1- to 4-grams, all of the caption's, words of the caption, words of
        the reference of nearest length.
    """
    # The effective order changes a sentence's score, not its counts; without it sacrebleu warns.
    metric = BLEU(tokenize="13a", smooth_method="none", effective_order=True)
    rows = np.zeros((len(captions), COLUMNS), dtype=np.int64)
    for row, caption, texts in zip(rows, captions, references, strict=True):
        found = metric.sentence_score(caption, list(texts))
        row[:] = [*found.counts, *found.totals, found.sys_len, found.ref_len]
    return rows


def metrics_from_counts(rows: Ints) -> list[Metric]:
    """Return `bleu`, `bleu_1` to `bleu_3`, `p1` to `p4` and `bp` of counts [N, 10], N >= 1."""
    total = [int(value) for value in rows.sum(axis=0)]
    by_order = [_score(total, order) for order in range(1, ORDER + 1)]
    return [
        Metric(id="bleu", value=by_order[-1][0]),
        *(Metric(id=f"bleu_{n}", value=by_order[n - 1][0]) for n in range(1, ORDER)),
        *(Metric(id=f"p{n}", value=value) for n, value in enumerate(by_order[-1][1], start=1)),
        Metric(id="bp", value=by_order[-1][2]),
    ]


def signature(references: Sequence[Sequence[str]]) -> str:
    """Return sacrebleu's signature of the scores above, for these references."""
    sizes = sorted({len(texts) for texts in references})
    streams = [["" if i < size else None for size in sizes] for i in range(sizes[-1])]
    metric = BLEU(tokenize="13a", smooth_method="none")
    # There is no signature before a score; that references may be None is documented only.
    metric.corpus_score([""] * len(sizes), streams)  # type: ignore[arg-type]
    return str(metric.get_signature())


def _score(total: Sequence[int], order: int) -> tuple[float, list[float], float]:
    """Return BLEU of this order, its precisions and the brevity penalty, all in [0, 1]."""
    found = BLEU.compute_bleu(
        correct=list(total[:order]),
        total=list(total[ORDER : ORDER + order]),
        sys_len=total[-2],
        ref_len=total[-1],
        smooth_method="none",
        max_ngram_order=order,
    )
    score = min(found.score / 100, 1.0)  # sacrebleu's logarithms may end a little above 100
    return score, [value / 100 for value in found.precisions], found.bp
