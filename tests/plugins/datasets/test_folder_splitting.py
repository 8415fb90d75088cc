"""Splits of a folder: drawn from contents, taken as given, and no group in two of them."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from written_folders import RNG, SPLITS, class_folders, every_sample, masks, opened, picture, table

from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import Dataset


def test_class_folders_are_labels_split_70_10_20_class_by_class(tmp_path: Path) -> None:
    dataset = opened(class_folders(tmp_path, sick=20, healthy=60))
    assert (dataset.kind, dataset.classes) == ("labels", ("healthy", "sick"))
    counts = Counter(every_sample(dataset).values())
    assert counts == {
        ("train", 0): 42,
        ("val", 0): 6,
        ("test", 0): 12,
        ("train", 1): 14,
        ("val", 1): 2,
        ("test", 1): 4,
    }
    assert "SHA-256" in dataset.facts["splits"]


def test_drawn_splits_depend_on_contents_not_on_names(tmp_path: Path) -> None:
    class_folders(tmp_path / "one", a=20, b=20)
    for path in (tmp_path / "one").rglob("*.png"):
        copy = tmp_path / "two" / path.parent.name / f"{999 - int(path.stem)}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    def contents(dataset: Dataset) -> dict[str, set[bytes]]:
        return {
            name: {dataset.split(name).image(i).tobytes() for i in range(len(dataset.split(name)))}
            for name in SPLITS
        }

    assert contents(opened(tmp_path / "one")) == contents(opened(tmp_path / "two"))


def test_equal_images_stay_together(tmp_path: Path) -> None:
    same = [RNG.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(10)]
    for index in range(60):
        picture(tmp_path / "ab"[index % 2] / f"{index}.png", same[index % 10])
    where: dict[bytes, set[str]] = {}
    dataset = opened(tmp_path)
    for name in SPLITS:
        split = dataset.split(name)
        for i in range(len(split)):
            where.setdefault(split.image(i).tobytes(), set()).add(name)
    assert {len(names) for names in where.values()} == {1}


def test_a_copy_in_another_group_joins_the_groups(tmp_path: Path) -> None:
    # Each group shares an image with the next: 10 chains of 4 groups.
    same = [RNG.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(50)]
    rows = []
    for chain in range(10):
        for link in range(4):
            for step in range(2):
                name = f"{chain}-{link}-{step}"
                picture(tmp_path / "p" / f"{name}.png", same[chain * 5 + link + step])
                rows.append(f"{name},{'ab'[chain % 2]},g{chain}-{link}")
    dataset = opened(table(tmp_path, rows), label_column="label", group_column="patient")
    where: dict[object, set[str]] = {}
    for name in SPLITS:
        split = dataset.split(name)
        for i in range(len(split)):
            where.setdefault(split.image(i).tobytes(), set()).add(name)
            where.setdefault(int(split.groups[i]), set()).add(name)
    assert len(where) == 50 + 40
    assert {len(names) for names in where.values()} == {1}
    counts = Counter(name for name, _ in every_sample(dataset).values())
    assert counts == {"train": 48, "val": 16, "test": 16}  # whole chains of 8, class by class


def test_too_few_images_to_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="4 images are too few to split in three"):
        opened(class_folders(tmp_path, a=2, b=2))


def test_masks_can_be_split_by_patient(tmp_path: Path) -> None:
    masks(tmp_path, 20)
    table(tmp_path, [f"{i:03}.png,p{i % 5}" for i in range(20)], "image,patient")
    dataset = opened(tmp_path, group_column="patient")
    groups = [set(np.asarray(dataset.split(name).groups).tolist()) for name in SPLITS]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_real_radiographs_are_split_by_patient(test_data: Path) -> None:
    root = test_data / "data" / "hannover_cxr"
    dataset = opened(root, label_column="projection", group_column="patient_id")
    assert dataset.classes == ("ap", "pa")
    labels = Counter(target for _, target in every_sample(dataset).values())
    assert labels == {0: 194, 1: 49}  # README of the test data
    groups = [set(np.asarray(dataset.split(name).groups).tolist()) for name in SPLITS]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups)) == 71
    assert all({0, 1} == {t for n, t in every_sample(dataset).values() if n == s} for s in SPLITS)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders_are_taken_as_given(tmp_path: Path, val: str) -> None:
    for name, count in (("train", 4), (val, 2), ("test", 3)):
        class_folders(tmp_path / name, a=count, b=count)
    dataset = opened(tmp_path)
    assert [len(dataset.split(name)) for name in SPLITS] == [8, 4, 6]
    assert dataset.facts["splits"] == "given"


def test_split_folders_may_hold_images_and_masks(tmp_path: Path) -> None:
    for name in SPLITS:
        masks(tmp_path / name, 3)
    dataset = opened(tmp_path)
    assert (dataset.kind, len(dataset.split("val"))) == ("masks", 3)


def test_equal_images_in_two_given_splits_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in SPLITS:
        class_folders(tmp_path / name, a=3, b=3)
    with caplog.at_level(logging.WARNING):
        assert "duplicates" not in opened(tmp_path).facts
    assert not caplog.records
    shared, everywhere = (RNG.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(2))
    for name in ("train", "test"):
        picture(tmp_path / name / "a" / "shared.png", shared)
    for name in SPLITS:
        picture(tmp_path / name / "b" / "everywhere.png", everywhere)
    picture(tmp_path / "train" / "a" / "twice.png", everywhere)
    with caplog.at_level(logging.WARNING):
        dataset = opened(tmp_path)
    assert dataset.facts["duplicates"] == "2 images stand in more than one split"
    assert dataset.facts["splits"] == "given"
    (message,) = caplog.messages
    assert message.startswith("2 images stand in more than one split, byte for byte (test/")


def test_a_missing_validation_folder_is_asked_for(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", a=2, b=2)
    class_folders(tmp_path / "test", a=2, b=2)
    with pytest.raises(SetupError, match="no val or valid or validation folder"):
        opened(tmp_path)


def test_a_group_in_two_given_splits_is_refused(tmp_path: Path) -> None:
    lines = ["image,patient"]
    for name in SPLITS:
        class_folders(tmp_path / name, a=2, b=2)
        lines += [f"{name}/{c}/{i:03}.png,{name}{i}" for c in "ab" for i in range(2)]
    lines[-1] = "test/b/001.png,train0"
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    with pytest.raises(IntegrityError, match="1 groups are in more than one split: train0"):
        opened(tmp_path, group_column="patient")
