"""The clinical proxy: a lexicon learnt from training captions, tagged captions, their F1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from omnibench.errors import IntegrityError
from omnibench.interfaces import ConceptSplit
from omnibench.metrics import captioning, concepts
from omnibench.subset import Subset


@dataclasses.dataclass(frozen=True)
class Captioned:
    captions: tuple[str, ...]
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(len(self.captions))

    def __len__(self) -> int:
        return len(self.captions)

    def image(self, index: int) -> np.ndarray[Any, Any]:
        return np.zeros((8, 8), dtype=np.uint8)

    def target(self, index: int) -> tuple[str, ...]:
        return (self.captions[index],)


@dataclasses.dataclass(frozen=True)
class Coded(Captioned):
    codes: tuple[tuple[str, ...], ...] = ()

    def concepts(self, index: int) -> tuple[str, ...]:
        return self.codes[index]


def training() -> Coded:
    """12 images with an effusion, 12 with a mass, one with a rare code."""
    texts = [f"pleural effusion number {i}" for i in range(12)]
    texts += [f"a mass in the lung {i}" for i in range(12)]
    codes = [("C1",)] * 12 + [("C2", "C3")] * 11 + [("C2", "C9")]
    return Coded(tuple(texts), codes=tuple(codes))


def test_a_code_gets_the_term_that_tells_it_best() -> None:
    split = training()
    found = concepts.lexicon(split.captions, split.codes)
    # `a`, `mass`, `lung`, … tell C2 equally well: the shortest. C9 is too rare.
    assert found == {"C1": "number", "C2": "a", "C3": "a"}


def test_a_term_must_be_right_at_least_half_the_time() -> None:
    def learnt(of_mass: int) -> dict[str, str]:
        """Learn from 20 captions each of two words and a code of 10 images."""
        codes = [("C1",)] * of_mass + [()] * 20 + [("C1",)] * (10 - of_mass) + [()] * 10
        return concepts.lexicon(["mass"] * 20 + ["other"] * 20, codes)

    assert learnt(8) == {"C1": "mass"}  # F1 = 16 / 30
    assert learnt(7) == {}  # 14 / 30


def test_bigrams_are_terms_and_case_and_marks_are_not() -> None:
    assert concepts.terms("X-ray: Chest") == {"x", "ray", "chest", "x ray", "ray chest"}


def arrays(**changed: Any) -> dict[str, Any]:
    """C1 is named once rightly and once wrongly, C2 is missed: F1 = 2 / (2 + 1 + 1)."""
    return {
        "test_id": np.arange(3),
        "test_captions": np.array(["an effusion", "effusion", "normal"]),
        "test_references": np.array([["effusion"], ["normal"], ["a mass"]]),
        "test_concepts": np.array(["C1;C7", "", "C2"]),
        "lexicon": np.array([["C1", "effusion"], ["C2", "mass"]]),
    } | changed


def scores(predictions: Mapping[str, Any]) -> dict[str, float]:
    found = {m.id: m.value for m in captioning.metrics(predictions)}
    return {name: value for name, value in found.items() if name.startswith("cui")}


def test_the_proxy_is_the_micro_f1_over_the_codes_of_the_lexicon() -> None:
    assert scores(arrays()) == {"cui_f1_lexicon": 0.5, "cui_f1_lexicon_reference": 1.0}


def test_codes_outside_the_lexicon_do_not_count() -> None:
    more = arrays(test_concepts=np.array(["C1;C8;C9", "C5", "C2"]))
    assert scores(more) == scores(arrays())


def test_without_concepts_there_is_no_proxy() -> None:
    plain = arrays()
    del plain["test_concepts"], plain["lexicon"]
    assert scores(plain) == {}
    nothing = arrays(test_concepts=np.array(["", "", ""]))
    nothing["test_captions"] = nothing["test_references"][:, 0] = np.array(["x", "y", "z"])
    assert scores(nothing) == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"lexicon": np.array(["C1", "C2"])},
        {"lexicon": np.array([["C1", "a", "b"]])},
        {"test_concepts": np.array(["C1"])},
        {"test_concepts": np.array([1, 2, 3])},
    ],
)
def test_contradictory_concepts_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r"test_concepts, texts \[N\] with N = 3"):
        captioning.metrics(arrays(**changed))


def test_concepts_without_a_lexicon_are_refused() -> None:
    broken = arrays()
    del broken["lexicon"]
    with pytest.raises(IntegrityError, match="belong together"):
        captioning.metrics(broken)


def test_arrays_are_made_from_splits_that_have_concepts_and_from_no_others() -> None:
    train = training()
    cases = Coded(("x", "y"), codes=(("C1", "C5"), ()))
    made = concepts.concept_arrays(train, cases, "val")
    assert made["val_concepts"].tolist() == ["C1;C5", ""]
    assert made["lexicon"].tolist() == [["C1", "number"], ["C2", "a"], ["C3", "a"]]
    assert concepts.concept_arrays(Captioned(train.captions), cases) == {}
    assert concepts.concept_arrays(cases, cases) == {}  # no code is frequent enough


def test_a_subset_keeps_the_concepts_of_its_images() -> None:
    @dataclasses.dataclass(frozen=True)
    class Opened:
        name: str = "coded"

        def split(self, name: str) -> Captioned:
            return training() if name == "train" else Captioned(tuple("abcdef"))

    some = Subset(Opened(), (5, 3, 3))  # type: ignore[arg-type]
    train = some.split("train")
    assert isinstance(train, ConceptSplit) and len(train) == 5
    whole = training()
    for index, number in enumerate(train.ids):
        assert train.concepts(index) == whole.concepts(int(number))
    assert not isinstance(some.split("test"), ConceptSplit)
