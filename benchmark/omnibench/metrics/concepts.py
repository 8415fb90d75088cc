"""Clinical content by proxy: do generated captions name the concepts that their images have?

Datasets such as ROCOv2 give UMLS concepts (CUIs) of every image; generated text has none. A
lexicon learnt from the training captions stands in for a concept tagger: for every CUI of at
least `MIN_CASES` training images, the one word or bigram whose presence in a caption tells the
CUI best (F1), kept if that F1 is at least `MIN_F1`. A caption then has the CUIs whose term it
contains. `cui_f1_lexicon` is the micro F1 between these and the CUIs of the image, over the CUIs
of the lexicon. It sees neither negation nor synonyms, so it is read beside
`cui_f1_lexicon_reference`, which the reference captions get from the same lexicon.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from omnibench.errors import IntegrityError
from omnibench.interfaces import ConceptSplit, Metric, Split

MIN_CASES = 10  # our choice: rarer concepts give no stable term
MIN_F1 = 0.5  # our choice: below it, the term is wrong as often as not
JOIN = ";"
LEXICON = "lexicon"
Arrays = dict[str, "np.ndarray[Any, Any]"]


def concept_arrays(train: Split, cases: Split, name: str = "test") -> Arrays:
    """Return what `cui_f1_lexicon` needs in the predictions of a split.

    Args:
        train: Training captions, from which the lexicon is learnt.
        cases: The split that captions are generated for.
        name: What arrays of that split begin with, `test` or `val`.

    Returns:
        `<name>_concepts`, str [N], codes joined by `;`, and `lexicon`, str [L, 2], code and term;
        nothing if the dataset has no concepts or the lexicon would be empty.
    """
    if not isinstance(train, ConceptSplit) or not isinstance(cases, ConceptSplit):
        return {}
    found = lexicon(
        [" ".join(train.target(i)) for i in range(len(train))],
        [train.concepts(i) for i in range(len(train))],
    )
    if not found:
        return {}
    joined = [JOIN.join(cases.concepts(i)) for i in range(len(cases))]
    return {f"{name}_concepts": np.array(joined), LEXICON: np.array(list(found.items()))}


def lexicon(captions: Sequence[str], codes: Sequence[Sequence[str]]) -> dict[str, str]:
    """Learn the term of each code that has one; ties go to the shorter, then the first term.

    Args:
        captions: N texts.
        codes: Codes of each.

    Returns:
        Code to term, sorted by code.
    """
    frequency = Counter(code for of_case in codes for code in set(of_case))
    frequent = {code for code, n in frequency.items() if n >= MIN_CASES}
    used: Counter[str] = Counter()
    together: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for caption, of_case in zip(captions, codes, strict=True):
        found = terms(caption)
        used.update(found)
        for code in frequent.intersection(of_case):
            together[code].update(found)
    best = {}
    for code in sorted(frequent):
        ranked = (
            (-2 * both / (used[term] + frequency[code]), len(term), term)
            for term, both in together[code].items()
        )
        loss, _, term = min(ranked, default=(0.0, 0, ""))
        if -loss >= MIN_F1:
            best[code] = term
    return best


def terms(text: str) -> set[str]:
    """Return the lower-cased words and bigrams of a text."""
    words = re.findall(r"\w+", text.lower())
    return {*words, *(f"{one} {two}" for one, two in pairwise(words))}


def metrics(
    predictions: Mapping[str, np.ndarray[Any, Any]],
    split: str,
    captions: Sequence[str],
    references: Sequence[str],
) -> Iterator[Metric]:
    """Yield the proxy of captions and references, nothing where it is not defined.

    Raises:
        IntegrityError: If there are concepts without a lexicon, or they do not fit.
    """
    codes, table = predictions.get(f"{split}_concepts"), predictions.get(LEXICON)
    if codes is None:
        return
    if (
        table is None
        or codes.shape != (len(captions),)
        or table.ndim != 2
        or table.shape[1] != 2
        or codes.dtype.kind + table.dtype.kind != "UU"
    ):
        raise IntegrityError(
            f"{split}_concepts, texts [N] with N = {len(captions)}, and {LEXICON}, texts [L, 2], "
            "belong together; one has another shape or is missing: run the cell again"
        )
    learnt = {str(code): str(term) for code, term in table}
    truth = [learnt.keys() & set(text.split(JOIN)) for text in codes.tolist()]
    for name, texts in (("", captions), ("_reference", references)):
        value = _micro_f1([_tagged(text, learnt) for text in texts], truth)
        if value is not None:
            yield Metric(id=f"cui_f1_lexicon{name}", value=value)


def _tagged(text: str, learnt: Mapping[str, str]) -> set[str]:
    found = terms(text)
    return {code for code, term in learnt.items() if term in found}


def _micro_f1(predicted: Sequence[set[str]], truth: Sequence[set[str]]) -> float | None:
    """Return 2 TP / (2 TP + FP + FN) over all cases; None if there is nothing to find."""
    both = sum(len(p & t) for p, t in zip(predicted, truth, strict=True))
    either = sum(map(len, predicted)) + sum(map(len, truth))
    return 2 * both / either if either else None
