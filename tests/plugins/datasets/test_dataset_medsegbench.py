"""MedSegBench sets: one fixed map from mask values to classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets import medsegbench
from omnibench_plugins.datasets.facts import ArchiveFacts

Small = Callable[..., ArchiveFacts]
CARDS = {card.name: card for card in medsegbench.cards()}


def access(root: Path, **more: bool) -> DataAccess:
    return DataAccess(root=root, offline=True, source_size=128, **more)


@pytest.mark.parametrize("size", [128, 256])
def test_real_ultrasound_images_and_masks_open(test_data: Path, size: int) -> None:
    root = test_data / "data"
    dataset = CARDS["busi"].open(
        DataAccess(root=root, offline=True, allow_unverified=True, source_size=size)
    )
    raw = np.load(root / "medsegbench" / f"busi_{size}.npz", allow_pickle=False)
    for name, count in (("train", 452), ("val", 64), ("test", 131)):
        split = dataset.split(name)
        assert len(split) == count
        assert np.array_equal(split.image(5), raw[f"{name}_images"][5])
        assert np.array_equal(split.target(5), raw[f"{name}_label"][5])
        assert split.target(5).dtype == np.uint8
    assert dataset.classes == ("background", "foreground")


def test_the_rebuilt_file_is_refused_without_permission(test_data: Path) -> None:
    with pytest.raises(IntegrityError, match="68877751adef0ab639de73946aac0985"):
        CARDS["busi"].open(access(test_data / "data"))


def test_the_default_is_512_pixels_and_present_sizes_are_listed(test_data: Path) -> None:
    with pytest.raises(SetupError, match=r"busi_512.npz is missing.*present: 128, 256"):
        CARDS["busi"].open(DataAccess(root=test_data / "data", offline=True, allow_unverified=True))


def test_multi_class_values_are_class_indices_in_every_split(
    tmp_path: Path, small_set: Small
) -> None:
    lacking = np.zeros((2, 128, 128), np.uint8)
    lacking[:, :9] = 2  # a split that lacks class 1 must not shift class 2
    facts = small_set(tmp_path, "medsegbench", "fhpsaop", val_label=lacking)
    dataset = medsegbench.open_set(facts, access(tmp_path, allow_unverified=True))
    assert set(np.unique(dataset.split("val").target(0))) == {0, 2}
    assert set(np.unique(dataset.split("train").target(0))) == {0, 1, 2}
    assert dataset.facts["label_map"] == "values are class indices"


def test_a_value_outside_the_declared_map_is_refused(tmp_path: Path, small_set: Small) -> None:
    wrong = np.full((3, 128, 128), 3, np.uint8)
    facts = small_set(tmp_path, "medsegbench", "fhpsaop", test_label=wrong)
    with pytest.raises(
        IntegrityError, match="test_label holds the values 3 to 3, fhpsaop declares 0 to 2"
    ):
        medsegbench.open_set(facts, access(tmp_path, allow_unverified=True))


def test_any_value_above_zero_is_foreground_in_binary_sets(
    tmp_path: Path, small_set: Small
) -> None:
    numbered = np.zeros((4, 128, 128), np.uint8)
    numbered[:, :10], numbered[:, 10:20] = 7, 255
    facts = small_set(tmp_path, "medsegbench", "pandental", train_label=numbered)
    dataset = medsegbench.open_set(facts, access(tmp_path, allow_unverified=True))
    mask = dataset.split("train").target(0)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, (numbered[0] > 0).astype(np.uint8))


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_masks_of_other_integer_types_become_uint8(
    tmp_path: Path, small_set: Small, dtype: type
) -> None:
    masks = (np.arange(4 * 128 * 128).reshape(4, 128, 128) % 2).astype(dtype)
    facts = small_set(tmp_path, "medsegbench", "busi", train_label=masks)
    dataset = medsegbench.open_set(facts, access(tmp_path, allow_unverified=True))
    assert dataset.split("train").target(1).dtype == np.uint8
    assert dataset.split("train").target(1).sum() == masks[1].sum()


def test_three_channel_sets_and_extra_category_arrays_open(
    tmp_path: Path, small_set: Small
) -> None:
    extra = np.zeros((1, 128, 128), np.uint8)
    facts = small_set(tmp_path, "medsegbench", "mosmedplus", train_label_C1=extra)
    dataset = medsegbench.open_set(facts, access(tmp_path, allow_unverified=True))
    assert dataset.split("test").image(2).shape == (128, 128, 3)


def test_sets_in_the_second_record_say_so() -> None:
    assert CARDS["wbc"].source_url == "https://zenodo.org/records/13359660"
    assert CARDS["busi"].source_url == "https://zenodo.org/records/13358372"
