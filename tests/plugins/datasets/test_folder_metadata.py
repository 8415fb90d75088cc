"""Folders with metadata.csv: labels, groups and splits from its columns, and faulty rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_folders import SPLITS, masks, opened, picture, table

from omnibench.errors import IntegrityError, UsageError


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    for index in range(20):
        picture(tmp_path / "pictures" / f"x{index:02}.png")
    return table(tmp_path, [f"x{i:02},{'pa' if i % 2 else 'ap'},p{i // 2}" for i in range(20)])


def test_a_metadata_table_gives_labels_and_groups(ten: Path) -> None:
    dataset = opened(ten, label_column="label", group_column="patient")
    assert dataset.classes == ("ap", "pa")
    seen: dict[int, set[str]] = {}
    for name in SPLITS:
        groups = dataset.split(name).groups
        assert groups is not None and len(groups) == len(dataset.split(name))
        for group in groups.tolist():
            seen.setdefault(group, set()).add(name)
    assert len(seen) == 10
    assert {len(names) for names in seen.values()} == {1}


def test_an_unknown_column_is_answered_with_the_nearest(ten: Path) -> None:
    with pytest.raises(UsageError, match=r"label_column=lable.*Did you mean label"):
        opened(ten, label_column="lable")
    with pytest.raises(UsageError, match=r"group_column=patents.*Did you mean patient"):
        opened(ten, label_column="label", group_column="patents")


def test_a_metadata_table_needs_a_label_column(ten: Path) -> None:
    with pytest.raises(UsageError, match="label_column=NAME; columns are image, label, patient"):
        opened(ten)


def test_a_split_column_is_taken_as_given(ten: Path) -> None:
    where = ["train"] * 12 + ["valid"] * 4 + ["test"] * 4
    table(ten, [f"x{i:02},{i % 2},{where[i]}" for i in range(20)], "image,label,split")
    dataset = opened(ten, label_column="label")
    assert [len(dataset.split(name)) for name in SPLITS] == [12, 4, 4]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x99,ap,p1", "1 of 21 images that are not in the folder: x99"),
        ("../../etc/passwd,ap,p1", "not in the folder: ../../etc/passwd"),
        ("x01,ap,p1", "names 1 images more than once"),
        ("pictures/x01.png,ap,p1", "1 images are named more than once: pictures/x01.png"),
        ("x01.png,,p1", "no label for 1 images"),
        ("x01.png,ap,", "column patient is empty for 1 images"),
    ],
)
def test_a_faulty_metadata_row_is_named(ten: Path, row: str, message: str) -> None:
    with (ten / "metadata.csv").open("a") as stream:
        stream.write("\n" + row)
    with pytest.raises(IntegrityError, match=message):
        opened(ten, label_column="label", group_column="patient")


def test_one_class_is_not_enough(ten: Path) -> None:
    table(ten, [f"x{i:02},ap,p{i}" for i in range(20)])
    with pytest.raises(IntegrityError, match="at least 2 classes"):
        opened(ten, label_column="label")


def test_a_name_that_fits_two_images_is_refused(ten: Path) -> None:
    picture(ten / "more" / "x01.png")
    with pytest.raises(IntegrityError, match=r"'x01' could be any of more/x01.png, pictures/x01"):
        opened(ten, label_column="label")


def test_a_label_column_makes_no_sense_beside_other_targets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"label_column is for folders with metadata\.csv"):
        opened(masks(tmp_path, 10), label_column="x")
    (tmp_path / "captions.csv").write_text("ID,Caption\n000,text\n")
    with pytest.raises(UsageError, match=r"label_column is for folders with metadata\.csv"):
        opened(tmp_path, label_column="x")
