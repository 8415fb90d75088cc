"""Captioning metrics from stored texts (no torch).

Notation: N cases, each with a generated caption and R or fewer reference captions. Predictions
hold `test_id` int64 [N], `test_captions` str [N] and `test_references` str [N, R], rows padded
with empty texts; the same with `val_`. All values are fractions in [0, 1].

Ids, as they stand in records:

| id | definition |
|---|---|
| `bleu` | corpus BLEU of order 4 with brevity penalty (sacrebleu: 13a, cased, not smoothed) |
| `bleu_1` to `bleu_3` | the same of lower orders, cumulative |
| `p1` to `p4` | n-gram precisions; OmniRad's Table 12 prints p1 and p4 as BLEU-1 and BLEU-4 |
| `bp` | brevity penalty |
| `rouge_l` | mean F of ROUGE-L (rouge-score, not stemmed); lower-cased ASCII letters and digits |
| `meteor` | mean of NLTK's METEOR; only where WordNet's files are found (`omnibench.metrics.wordnet`) |
| `meteor_nosyn` | METEOR without its synonym stage |
| `cui_f1_lexicon` | a proxy of clinical content, where predictions hold concepts (`concepts.py`) |
| `cui_f1_lexicon_reference` | the same of the first references: about what perfect captions get |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rouge_score.rouge_scorer import RougeScorer

from omnibench.errors import IntegrityError
from omnibench.interfaces import Metric
from omnibench.metrics import bleu, concepts, meteor, wordnet

Predictions = Mapping[str, "np.ndarray[Any, Any]"]
Floats = npt.NDArray[np.float64]


class Texts(NamedTuple):
    """The captions of a split and what they are held against."""

    captions: list[str]  # N
    references: list[list[str]]  # N times one or more


def metrics(predictions: Predictions, split: str = "test") -> list[Metric]:
    """Compute every metric that texts and machine allow.

    Args:
        predictions: Arrays as described above.
        split: `test` or `val`.

    Raises:
        IntegrityError: If arrays are missing or contradict each other.
        SetupError: If `OMNIBENCH_WORDNET` names a folder without WordNet's files.
    """
    captions, references = texts(predictions, split)
    synonyms = wordnet.found()
    found = bleu.metrics_from_counts(bleu.counts(captions, references))
    if synonyms is not None:
        values = meteor.cases(captions, references, synonyms)
        found.append(_mean("meteor", values, resource=synonyms.name))
    nothing = wordnet.NoSynonyms()
    return [
        *found,
        _mean("meteor_nosyn", meteor.cases(captions, references, nothing)),
        _mean("rouge_l", rouge_l_cases(captions, references)),
        *concepts.metrics(predictions, split, captions, [texts[0] for texts in references]),
    ]


def facts(predictions: Predictions, split: str = "test") -> dict[str, str]:
    """Return what a record should say of how texts were scored: signatures and versions."""
    references = texts(predictions, split).references
    synonyms = wordnet.found()
    return {
        "bleu": bleu.signature(references),
        "rouge_l": f"rouge-score {version('rouge-score')}, F, not stemmed, mean over cases",
        "meteor": f"nltk {version('nltk')}, alpha 0.9, beta 3, gamma 0.5, mean over cases, "
        + (synonyms.name if synonyms else "no WordNet on this machine"),
    }


def texts(predictions: Predictions, split: str) -> Texts:
    """Return captions and references of a split.

    Raises:
        IntegrityError: If arrays are missing or contradict each other.
    """
    names = [f"{split}_{part}" for part in ("id", "captions", "references")]
    missing = [name for name in names if name not in predictions]
    if missing:
        raise IntegrityError(f"predictions hold no {', '.join(missing)}; run the cell again")
    ids, captions, references = (predictions[name] for name in names)
    kinds = captions.dtype.kind + references.dtype.kind
    if kinds != "UU" or ids.ndim != 1 or len(ids) == 0 or references.ndim != 2:
        raise IntegrityError(
            f"{names[0]} are {ids.dtype} {ids.shape}, {names[1]} {captions.dtype} "
            f"{captions.shape}, {names[2]} {references.dtype} {references.shape}; numbers [N], "
            "texts [N] and texts [N, R] with at least one case were expected; run the cell again"
        )
    if not captions.shape == ids.shape == references.shape[:1] or len(np.unique(ids)) < len(ids):
        raise IntegrityError(
            f"{len(ids)} ids ({len(np.unique(ids))} different), {len(captions)} captions and "
            f"{len(references)} rows of references of split {split!r} contradict each other; run "
            "the cell again"
        )
    kept = [[text for text in row.tolist() if text.strip()] for row in references]
    bare = [int(i) for i, row in zip(ids, kept, strict=True) if not row]
    if bare:
        raise IntegrityError(
            f"{len(bare)} of {len(ids)} cases of split {split!r} have no reference, the first is "
            f"{bare[0]}; check the dataset's captions"
        )
    return Texts(captions.tolist(), kept)


def rouge_l_cases(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return ROUGE-L (F) of each case, the best over its references: float64 [N] in [0, 1]."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return np.array(
        [
            max(scorer.score(text, caption)["rougeL"].fmeasure for text in of_case)
            for caption, of_case in zip(captions, references, strict=True)
        ],
        dtype=np.float64,
    )


def _mean(name: str, values: Floats, resource: str = "") -> Metric:
    return Metric(id=name, value=float(values.mean()), resource=resource)
