"""MedMNIST sets: the real files, and small ones in their format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, UsageError
from omnibench_plugins.datasets import medmnist
from omnibench_plugins.datasets.facts import ArchiveFacts

Small = Callable[..., ArchiveFacts]
CARDS = {card.name: card for card in medmnist.cards()}


@pytest.mark.parametrize(
    ("flag", "size"),
    [("breastmnist", 28), ("breastmnist", 64), ("breastmnist", 224), ("pneumoniamnist", 28)],
)
def test_our_loading_agrees_with_the_medmnist_package(
    test_data: Path, flag: str, size: int
) -> None:
    package = pytest.importorskip("medmnist")
    access = DataAccess(
        root=test_data / "data", offline=True, allow_unverified=True, source_size=size
    )
    dataset = CARDS[flag].open(access)
    assert dataset.facts["unverified"] == "true"
    assert dataset.facts["source_size"] == str(size)
    for name, count in zip(("train", "val", "test"), CARDS[flag].split_sizes or (), strict=True):
        theirs = getattr(package, package.INFO[flag]["python_class"])(
            split=name, root=str(test_data / "data" / "medmnist"), size=size, download=False
        )
        ours = dataset.split(name)
        assert len(ours) == len(theirs) == count
        for index in range(0, count, 37):
            image, label = theirs[index]
            assert np.array_equal(ours.image(index), np.asarray(image))
            assert ours.target(index) == label[0]
            assert isinstance(ours.target(index), int)


def test_a_rebuilt_file_is_refused_unless_allowed(test_data: Path) -> None:
    with pytest.raises(IntegrityError, match="750601b1f35ba3300ea97c75c52ff8f6"):
        CARDS["breastmnist"].open(DataAccess(root=test_data / "data", offline=True, source_size=28))


def test_the_default_source_size_is_224(test_data: Path) -> None:
    dataset = CARDS["breastmnist"].open(
        DataAccess(root=test_data / "data", offline=True, allow_unverified=True)
    )
    assert dataset.split("val").image(0).shape == (224, 224)


def test_a_verified_file_opens_without_a_mark(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "organamnist")
    dataset = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28))
    assert "unverified" not in dataset.facts
    assert dataset.facts["source"] == "Zenodo record 10519652"
    assert dataset.classes[6] == "liver"


def test_colour_images_keep_three_channels(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "bloodmnist")
    dataset = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28))
    assert dataset.split("train").image(0).shape == (28, 28, 3)


def test_chestmnist_gives_all_its_labels(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "chestmnist")
    dataset = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28))
    target = dataset.split("test").target(0)
    assert target.shape == (14,)
    assert set(np.unique(target)) <= {0, 1}


def test_ids_are_increasing_and_differ_between_splits(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    dataset = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28))
    ids = np.concatenate([dataset.split(name).ids for name in ("train", "val", "test")])
    assert ids.tolist() == list(range(9))
    assert ids.dtype == np.int64


def test_samples_cannot_be_changed_through_what_is_handed_out(
    tmp_path: Path, small_set: Small
) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    split = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28)).split("train")
    before = split.image(0)
    split.image(0)[:] = 0
    assert np.array_equal(split.image(0), before)
    with pytest.raises(ValueError, match="read-only"):
        split.ids[0] = 5


def test_an_unverified_file_may_hold_fewer_samples(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    larger = replace(facts, counts=(10, 10, 10), md5={28: "0" * 32})
    access = DataAccess(root=tmp_path, source_size=28, allow_unverified=True)
    assert len(medmnist.open_set(larger, access).split("train")) == 4


def test_there_are_three_splits(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    dataset = medmnist.open_set(facts, DataAccess(root=tmp_path, source_size=28))
    with pytest.raises(UsageError, match="Did you mean train"):
        dataset.split("trian")
