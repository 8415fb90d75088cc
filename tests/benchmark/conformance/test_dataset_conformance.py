"""The kit finds each way in which a dataset breaks its contract, and nothing in sound ones."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omnibench_plugins.datasets
from omnibench.cards import DataAccess, DatasetKind, DatasetSpec
from omnibench.conformance import assert_conforms, check_dataset
from omnibench.conformance.specimens import SpecimenDataset, SpecimenSplit, dataset_card
from omnibench.errors import SetupError
from omnibench.registry import Registry

COUNTER = itertools.count()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changed(SpecimenDataset):
    """A specimen whose splits answer some questions in another way."""

    answers: dict[str, Any]

    @property
    def digest(self) -> str:
        answer = self.answers.get("digest")
        return answer() if answer else super().digest

    @property
    def name(self) -> str:
        return str(self.answers.get("name", super().name))

    def split(self, name: str) -> Any:
        return ChangedSplit(super().split(name), name, self.answers)


class ChangedSplit:
    def __init__(self, split: SpecimenSplit, name: str, answers: dict[str, Any]) -> None:
        self.whole, self.name, self.answers = split, name, answers

    def _said(self, what: str, own: Any) -> Any:
        change: Callable[[str, Any], Any] = self.answers.get(what, lambda name, own: own)
        return change(self.name, own)

    ids = property(lambda self: self._said("ids", self.whole.ids))
    groups = property(lambda self: self._said("groups", self.whole.groups))

    def __len__(self) -> int:
        return len(self.whole)

    def image(self, index: int) -> Any:
        return self._said("image", self.whole.image(index))

    def target(self, index: int) -> Any:
        return self._said("target", self.whole.target(index))


def changed(kind: DatasetKind, **answers: Any) -> DatasetSpec:
    card = dataset_card(kind)
    facts = answers.pop("facts", {"source_size": "32"})
    stated = answers.pop("card", {})
    made = functools.partial(_open, kind, facts, answers)
    return dataclasses.replace(card, open=made, **stated)


def _open(kind: DatasetKind, facts: Any, answers: dict[str, Any], access: DataAccess) -> Any:
    return Changed(kind=kind, facts=facts, answers=answers)


SHARED = np.zeros((32, 32), np.uint8)


@pytest.mark.parametrize(
    ("card", "complaint"),
    [
        (changed("labels", name="other"), "name 'specimen-labels', opened it has 'other'"),
        (changed("labels", card={"classes": ("a", "b", "c")}), "3 classes, opened it has 2"),
        (changed("labels", card={"kind": "masks"}), "kind 'masks', opened it has 'labels'"),
        (changed("labels", digest=lambda: f"{next(COUNTER):064x}"), "it has two digests"),
        (changed("labels", digest=lambda: "v1"), "its digest is 'v1'"),
        (changed("labels", facts={"source_size": 32}), r"facts \['source_size'\] are no strings"),
        (changed("labels", facts={"source": f"{Path.cwd()}/x"}), "tells a path of this machine"),
        (changed("labels", ids=lambda n, own: own[::-1].copy()), "do not ascend strictly"),
        (changed("labels", ids=lambda n, own: own.astype(np.int32)), "are int32"),
        (changed("labels", ids=lambda n, own: own[:-1]), "one int64 number a sample"),
        (changed("labels", ids=lambda n, own: own - own[0]), "train and val share 8 sample ids"),
        (changed("labels", groups=lambda n, own: own % 4), "train and val share 4 groups, e.g. 0"),
        (changed("labels", groups=lambda n, own: own[:3]), "the groups of a split of 16"),
        (changed("labels", card={"split_sizes": (16, 8, 9)}), r"hold \(16, 8, 8\), published are"),
        (changed("labels", image=lambda n, own: own / 255.0 * 2), "must scale floating-point"),
        (changed("labels", image=lambda n, own: own[..., None]), r"shape \[H, W\] or \[H, W, 3\]"),
        (changed("labels", image=lambda n, own: own.astype(np.int16)), "is int16"),
        (changed("labels", target=lambda n, own: 2), "label 2 is none of its 2 classes"),
        (changed("labels", target=lambda n, own: "dark"), "the label is str; give an int"),
        (changed("masks", target=lambda n, own: own * 2), "mask value 2, it has 2 classes"),
        (changed("masks", target=lambda n, own: own[:16]), "must give uint8 of its image's size"),
        (changed("captions", target=lambda n, own: own[0]), "give a tuple of texts"),
        (changed("captions", target=lambda n, own: ()), "give a tuple of texts"),
        (changed("labels", image=lambda n, own: own + next(COUNTER) % 7), "image is another when"),
        (changed("masks", image=lambda n, own: SHARED), "return a copy, or a read-only array"),
    ],
)
def test_what_is_broken_is_named(card: DatasetSpec, complaint: str) -> None:
    SHARED[:] = 9
    with pytest.raises(AssertionError, match=complaint):
        assert_conforms(check_dataset(card))


class AnySplit(SpecimenDataset):
    def split(self, name: str) -> SpecimenSplit:
        return super().split("val" if name == "validation" else name)


def test_an_unknown_split_must_be_refused() -> None:
    card = dataclasses.replace(dataset_card("labels"), open=lambda access: AnySplit(kind="labels"))
    with pytest.raises(AssertionError, match="has a split 'validation'"):
        assert_conforms(check_dataset(card))


@pytest.mark.parametrize("kind", ["labels", "masks", "captions", "images"])
def test_made_up_datasets_pass(kind: DatasetKind) -> None:
    assert_conforms(check_dataset(dataset_card(kind)))


def test_the_embedded_dataset_passes_in_all_its_views() -> None:
    card = Registry.of(omnibench_plugins.datasets).dataset("mni152-tissue").card
    for view in (card, *card.views):
        assert_conforms(check_dataset(view, images=6))


@pytest.mark.parametrize(
    ("name", "size"), [("breastmnist", 64), ("pneumoniamnist", 28), ("busi", 256)]
)
def test_real_datasets_pass(name: str, size: int, test_data: Path) -> None:
    card = Registry.of(omnibench_plugins.datasets).dataset(name).card
    access = DataAccess(
        root=test_data / "data", offline=True, source_size=size, allow_unverified=True
    )
    try:
        findings = list(check_dataset(card, access, images=4))
    except SetupError as error:
        pytest.skip(str(error))
    assert_conforms(findings)
