"""Folders of images and masks: classes from values, and pairs that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_folders import SPLITS, masks, opened, picture

from omnibench.errors import IntegrityError


def test_masks_of_0_and_255_are_binary(tmp_path: Path) -> None:
    dataset = opened(masks(tmp_path, 20))
    assert (dataset.kind, dataset.classes) == ("masks", ("background", "foreground"))
    assert [len(dataset.split(name)) for name in SPLITS] == [14, 2, 4]
    mask = dataset.split("train").target(0)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    assert mask.shape == dataset.split("train").image(0).shape


def test_class_indices_keep_one_meaning_in_all_splits(tmp_path: Path) -> None:
    for name, value in zip(SPLITS, (10, 40, 20), strict=True):
        masks(tmp_path / name, 3, value)
    dataset = opened(tmp_path)
    assert dataset.classes == ("background", "value-10", "value-20", "value-40")
    top = [dataset.split(name).target(0)[0, 0] for name in SPLITS]
    assert top == [1, 3, 2]


@pytest.mark.parametrize(("left", "what"), [("images", "mask"), ("masks", "image")])
def test_an_image_without_a_mask_and_the_reverse_are_refused(
    tmp_path: Path, left: str, what: str
) -> None:
    masks(tmp_path, 10)
    picture(tmp_path / left / "alone.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(IntegrityError, match=rf"1 of 11 {left}.* no {what} .*: alone"):
        opened(tmp_path)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    masks(tmp_path, 10)
    picture(tmp_path / "masks" / "003.png", np.zeros((4, 8), np.uint8))
    with pytest.raises(IntegrityError, match=r"1 of 10 masks do not have the size.*003.png"):
        opened(tmp_path)


def test_empty_masks_and_smooth_masks_are_refused(tmp_path: Path) -> None:
    masks(tmp_path / "empty", 10, value=0)
    with pytest.raises(IntegrityError, match="all masks are empty"):
        opened(tmp_path / "empty")
    masks(tmp_path / "smooth", 10)
    gradient = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture(tmp_path / "smooth" / "images" / "000.png", gradient)
    picture(tmp_path / "smooth" / "masks" / "000.png", gradient)
    with pytest.raises(IntegrityError, match="more than 64 different values"):
        opened(tmp_path / "smooth")
