"""Synonyms from WordNet's own files, for METEOR.

The files are looked for in the folder that `OMNIBENCH_WORDNET` names, else where NLTK keeps its
data (`corpora/wordnet`, a folder or a zip file). NLTK's reader would do, but wants files that
distributions do not ship (`lexnames`, WordNet 1:1 maps), refuses folders outside its own path and
indexes far more than synonyms; this one gives METEOR the same synonyms (a test compares them)
from the twelve files named in wndb(5WN).
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from functools import lru_cache
from pathlib import Path

from omnibench.errors import SetupError

VARIABLE = "OMNIBENCH_WORDNET"
# Endings and what replaces them, by part of speech, as morphy(7WN) has them.
DETACHMENTS = {
    "noun": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
        ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ),
    "verb": (
        ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""),
        ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
FILES = tuple(name for pos in DETACHMENTS for name in (f"data.{pos}", f"index.{pos}", f"{pos}.exc"))
Place = Path | zipfile.Path


class Lemma:
    """One word of a set of synonyms, in the form that NLTK's METEOR asks for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        """Return the word; several words are joined by `_`."""
        return self._name


class Synset:
    """One set of synonyms, in the form that NLTK's METEOR asks for."""

    def __init__(self, names: list[str]) -> None:
        self._lemmas = [Lemma(name) for name in names]

    def lemmas(self) -> list[Lemma]:
        """Return its words."""
        return self._lemmas


class NoSynonyms:
    """A WordNet that knows no word: METEOR without its synonym stage."""

    def synsets(self, word: str) -> list[Synset]:
        """Return nothing."""
        return []


class WordNet:
    """Sets of synonyms of any English word; about 0.2 s to open and 65 MB in memory.

    Args:
        place: Folder, in the file system or in a zip file, that holds `FILES`.
    """

    def __init__(self, place: Place) -> None:
        digest = hashlib.sha256()
        read = {}
        for name in FILES:
            read[name] = (place / name).read_bytes()
            digest.update(name.encode() + b"\0" + read[name])
        self._data = {pos: read[f"data.{pos}"] for pos in DETACHMENTS}
        self._index = {pos: _first_words(read[f"index.{pos}"]) for pos in DETACHMENTS}
        self._exceptions = {pos: _first_words(read[f"{pos}.exc"]) for pos in DETACHMENTS}
        self._known: dict[str, list[Synset]] = {}
        version = re.search(rb"WordNet (\d[\d.]*) Copyright", read["data.noun"])
        self.name = (
            f"WordNet {version[1].decode() if version else 'of unknown version'}, "
            f"sha256 {digest.hexdigest()[:16]}"
        )

    def synsets(self, word: str) -> list[Synset]:
        """Return the sets that hold `word` or a base form of it, in any part of speech."""
        word = word.lower()
        if word not in self._known:
            self._known[word] = [
                self._synset(pos, offset)
                for pos in DETACHMENTS
                for form in self._base_forms(word, pos)
                for offset in _offsets(self._index[pos][form])
            ]
        return self._known[word]

    def _base_forms(self, word: str, pos: str) -> list[str]:
        """Return the word itself and its base forms, those that are in the index (morphy)."""
        if word in self._exceptions[pos]:
            forms = self._exceptions[pos][word].split()
        else:
            rules = DETACHMENTS[pos]
            forms = [word.removesuffix(old) + new for old, new in rules if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *forms]) if form in self._index[pos]]

    def _synset(self, pos: str, offset: int) -> Synset:
        """Read `offset lex_filenum ss_type w_cnt word lex_id [word lex_id …] …`."""
        line = self._data[pos][offset : self._data[pos].index(b"\n", offset)].decode()
        fields = line.split(" ")
        count = int(fields[3], 16)
        words = fields[4 : 4 + 2 * count : 2]
        return Synset([word.partition("(")[0] for word in words])  # adjectives may end in `(a)`


def found() -> WordNet | None:
    """Return WordNet if its files are on this machine; reads them once.

    Raises:
        SetupError: If `OMNIBENCH_WORDNET` names a folder without them. Tasks that score with
            METEOR call this before they train.
    """
    return _found(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=1)
def _found(named: str) -> WordNet | None:
    if named:
        folder = Path(named).expanduser()
        lacking = [name for name in FILES if not (folder / name).is_file()]
        if lacking:
            shown = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
            raise SetupError(
                f"{VARIABLE}={named}: this folder lacks {len(lacking)} of WordNet's "
                f"{len(FILES)} files ({shown}); name the folder that holds them (Debian's package "
                f"wordnet-base: /usr/share/wordnet), or unset {VARIABLE} to do without `meteor`"
            )
        return WordNet(folder)
    place = next((place for place in _nltk_places() if _complete(place)), None)
    return WordNet(place) if place else None


def _nltk_places() -> list[Place]:
    import nltk.data

    places: list[Place] = []
    for root in nltk.data.path:
        corpora = Path(root, "corpora")
        places.append(corpora / "wordnet")
        if zipfile.is_zipfile(corpora / "wordnet.zip"):
            places.append(zipfile.Path(corpora / "wordnet.zip", "wordnet/"))
    return places


def _complete(place: Place) -> bool:
    return all((place / name).is_file() for name in FILES)


def _first_words(table: bytes) -> dict[str, str]:
    """Return the rest of each line by its first word; the licence's lines begin with spaces."""
    lines = table.decode().splitlines()
    split = (line.partition(" ") for line in lines if not line.startswith(" "))
    return {word: rest for word, _, rest in split}


def _offsets(entry: str) -> list[int]:
    """Read `pos synset_cnt p_cnt … synset_offset [synset_offset …]`."""
    fields = entry.split()
    return [int(offset) for offset in fields[-int(fields[1]) :]]
