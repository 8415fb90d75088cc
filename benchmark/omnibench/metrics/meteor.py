"""METEOR as NLTK computes it (alpha 0.9, beta 3, gamma 0.5), the one behind OmniRad's Table 12.

Not METEOR 1.5, whose scores are others. Words are those of NLTK's `word_tokenize`, whose
trained sentence splitter needs data that may be absent; here the same splitter runs untrained, so
that a number does not depend on what a machine has: it takes the full stop after an abbreviation
inside a caption (`Dr.`) for a word of its own. Of 1,200 real captions 6 get other words that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer
from nltk.translate.meteor_score import meteor_score

from omnibench.metrics.wordnet import NoSynonyms, WordNet

Floats = npt.NDArray[np.float64]
SENTENCES = PunktSentenceTokenizer()
WORDS = NLTKWordTokenizer()


def cases(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    synonyms: WordNet | NoSynonyms,
) -> Floats:
    """Return METEOR of each case, the best over its references.

    Args:
        captions: N texts, possibly empty.
        references: For each of them one or more texts.
        synonyms: WordNet, or nothing in its place.

    Returns:
        float64 [N] in [0, 1); 0 for an empty caption.
    """
    stemmer = _CachedStemmer()
    return np.array(
        [
            meteor_score(
                [words(text) for text in texts], words(caption), stemmer=stemmer, wordnet=synonyms
            )
            for caption, texts in zip(captions, references, strict=True)
        ],
        dtype=np.float64,
    )


@lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text; METEOR lower-cases them."""
    sentences = SENTENCES.tokenize(text)
    return tuple(word for sentence in sentences for word in WORDS.tokenize(sentence))


class _CachedStemmer:
    """Porter's stemmer, once a word: captions repeat theirs."""

    def __init__(self) -> None:
        self.stem = lru_cache(maxsize=None)(PorterStemmer().stem)
