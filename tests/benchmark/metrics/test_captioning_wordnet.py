"""METEOR's synonyms from real WordNet files; skips where they are not at hand."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nltk.data
import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.translate.meteor_score import meteor_score

from omnibench.errors import SetupError
from omnibench.metrics import captioning, meteor, wordnet

FORMS = (
    "tumor tumour tumors big large lung lungs mass masses showing shows shown x-ray mice teeth "
    "vertebrae foci better worst quickly hearing heed obeys men women opacities demonstrates "
    "axes left was ct CT aortic calcified boxes churches wishes wolves larger largest"
)
# NLTK's own documentation.
GUIDE = (
    "It is a guide to action which ensures that the military always obeys the commands of the party"
)
GUIDE_REFERENCE = (
    "It is a guide to action that ensures that the military will forever heed Party commands"
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """WordNet is kept for the process; here its place changes from test to test."""
    wordnet._found.cache_clear()
    yield
    wordnet._found.cache_clear()


@pytest.fixture(scope="session")
def real() -> wordnet.WordNet:
    """WordNet as this machine has it."""
    found = wordnet.found()
    if found is None:
        pytest.skip("WordNet's files are not at hand: OMNIBENCH_WORDNET is not set")
    return found


@pytest.fixture(scope="session")
def folder(real: wordnet.WordNet) -> Path:
    """Its folder."""
    named = os.environ.get(wordnet.VARIABLE)
    if not named:
        pytest.skip("OMNIBENCH_WORDNET is not set: WordNet came with NLTK's data")
    return Path(named)


@pytest.fixture(scope="session")
def oracle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """NLTK's own reader on the same files, with what it asks for besides (statistics.md 2.4)."""
    root = tmp_path_factory.mktemp("nltk")
    place = root / "corpora" / "wordnet"
    place.mkdir(parents=True)
    for name in (*wordnet.FILES, "index.sense", "cntlist.rev"):
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not at hand: NLTK's reader wants it (wordnet-sense-index)")
        shutil.copyfile(folder / name, place / name)
    lexnames = [
        f"{i:02d}\tgroup.{i}\t1" for i in range(45)
    ]  # NLTK wants 45 names, whatever they are
    (place / "lexnames").write_text("\n".join(lexnames) + "\n")
    for path in (root, place.parent, place, *place.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            return None

    nltk.data.path.append(str(root))
    yield Reader(nltk.data.FileSystemPathPointer(str(place)), None)
    nltk.data.path.remove(str(root))


def names(reader: Any, word: str) -> list[list[str]]:
    return [[lemma.name() for lemma in synset.lemmas()] for synset in reader.synsets(word)]


@pytest.mark.filterwarnings("ignore:The multilingual functions")
def test_synonyms_are_those_of_nltks_reader(real: wordnet.WordNet, oracle: Any) -> None:
    rng = np.random.default_rng(0)
    drawn = [str(word) for pos in real._index for word in rng.choice(list(real._index[pos]), 300)]
    irregular = [w for pos in real._exceptions for w in list(real._exceptions[pos])[::40]]
    assert len(drawn) == 1200 and len(irregular) > 100
    for word in (
        *FORMS.split(),
        *drawn,
        *irregular,
        *(f"{word}s" for word in drawn[:300]),
        "zzz",
        "",
    ):
        assert names(real, word) == names(oracle, word), word


@pytest.mark.filterwarnings("ignore:The multilingual functions")
def test_meteor_is_that_of_nltks_reader(real: wordnet.WordNet, oracle: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        caption, reference = (" ".join(rng.choice(FORMS.split(), size=12)) for _ in range(2))
        theirs = meteor_score([meteor.words(reference)], meteor.words(caption), wordnet=oracle)
        assert meteor.cases([caption], [[reference]], real) == pytest.approx([theirs], abs=1e-12)


@pytest.mark.parametrize(
    ("caption", "reference", "score"),
    [
        (GUIDE, GUIDE_REFERENCE, 0.6944),
        # statistics.md 2.4
        (
            "picture demonstrates a big tumor in the lung",
            "image shows a large tumour in the lung",
            0.6050,
        ),
        ("the tumour is large", "the tumor is big", 0.7361),  # data_and_weights.md 4
    ],
)
def test_examples_of_the_specification(
    real: wordnet.WordNet, caption: str, reference: str, score: float
) -> None:
    assert meteor.cases([caption], [[reference]], real)[0] == pytest.approx(score, abs=5e-5)


def test_meteor_is_reported_beside_the_one_without_synonyms(real: wordnet.WordNet) -> None:
    arrays = {
        "test_id": np.arange(1),
        "test_captions": np.array(["the tumour is large"]),
        "test_references": np.array([["the tumor is big"]]),
    }
    found = {m.id: m for m in captioning.metrics(arrays)}
    assert found["meteor"].value > found["meteor_nosyn"].value
    assert re.fullmatch(r"WordNet 3\.\d, sha256 [0-9a-f]{16}", found["meteor"].resource)
    assert found["meteor_nosyn"].resource == ""
    assert real.name in captioning.facts(arrays)["meteor"]


def test_files_are_found_where_nltk_keeps_them_zipped_or_not(
    folder: Path, real: wordnet.WordNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(wordnet.VARIABLE)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    (tmp_path / "corpora").mkdir()
    with zipfile.ZipFile(tmp_path / "corpora" / "wordnet.zip", "w") as archive:
        for name in wordnet.FILES:
            archive.write(folder / name, f"wordnet/{name}")
    zipped = wordnet.found()
    assert zipped is not None and zipped.name == real.name
    assert names(zipped, "teeth") == names(real, "teeth") != []
    wordnet._found.cache_clear()
    (tmp_path / "corpora" / "wordnet.zip").unlink()
    (tmp_path / "corpora" / "wordnet").symlink_to(folder.resolve())
    unzipped = wordnet.found()
    assert unzipped is not None and unzipped.name == real.name


def test_without_files_there_is_no_meteor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(wordnet.VARIABLE, raising=False)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    arrays = {
        "test_id": np.arange(1),
        "test_captions": np.array(["a mass"]),
        "test_references": np.array([["a mass"]]),
    }
    found = {m.id for m in captioning.metrics(arrays)}
    assert "meteor_nosyn" in found and "meteor" not in found
    assert "no WordNet on this machine" in captioning.facts(arrays)["meteor"]


def test_a_wrong_folder_is_named_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(wordnet.VARIABLE, str(tmp_path / "wordnt"))
    with pytest.raises(SetupError, match=r"wordnt: this folder lacks 12 of WordNet's 12 files"):
        wordnet.found()
    (tmp_path / "data.noun").write_text("")
    monkeypatch.setenv(wordnet.VARIABLE, str(tmp_path))
    with pytest.raises(SetupError, match=r"lacks 11 of WordNet's 12 files \(index.noun"):
        wordnet.found()
