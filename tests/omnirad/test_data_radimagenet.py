"""RadImageNet's layout and tables, on a small tree (the images are given by agreement only)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnirad.data.radimagenet import counts_report, open_radimagenet
from omnirad.data.sources import stratum_codes
from omnirad.errors import DataError, SetupError

TRAIN = (
    ("radiology_ai/CT/abd/normal/abd-normal000001.png", "abd-normal"),
    ("radiology_ai/MR/knee/normal/foot000001.png", "knee-normal"),
    ("radiology_ai/US/gb/usn300001.png", "usn309850"),
)
VAL = (("radiology_ai/MR/knee/normal/foot000002.png", "knee-normal"),)


def tabulate(root: Path, split: str, rows: tuple[tuple[str, str], ...]) -> None:
    lines = ["filename,label", *(f"{name},{label}" for name, label in rows)]
    (root / f"RadiologyAI_{split}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, (name, _) in enumerate((*TRAIN, *VAL)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / name)
    tabulate(tmp_path, "train", TRAIN)
    tabulate(tmp_path, "val", VAL)
    return tmp_path


def test_the_class_is_the_tables_label_and_ultrasound_has_no_anatomy(root: Path) -> None:
    source = open_radimagenet(root)
    samples = [source.sample(index) for index in range(len(source))]
    assert [(s.modality, s.anatomy, s.label) for s in samples] == [
        ("CT", "abd", "abd-normal"),
        ("MR", "knee", "knee-normal"),
        ("US", "", "usn309850"),
    ]
    assert [int(source.image(index)[0, 0]) for index in range(3)] == [0, 1, 2]
    assert stratum_codes(source)[1] == (
        "radimagenet/CT/abd",
        "radimagenet/MR/knee",
        "radimagenet/US",
    )


def test_only_the_training_part_is_read_unless_asked(root: Path) -> None:
    assert {s.split for s in open_radimagenet(root).samples} == {"train"}
    assert [s.split for s in open_radimagenet(root, ("train", "val")).samples] == ["train"] * 3 + [
        "val"
    ]


def test_tables_may_lie_in_the_folder_of_images(root: Path) -> None:
    table = root / "RadiologyAI_train.csv"
    table.rename(root / "radiology_ai" / table.name)
    assert len(open_radimagenet(root)) == 3


def test_wrong_columns_are_named_with_those_that_are_there(root: Path) -> None:
    (root / "RadiologyAI_train.csv").write_text("path,label,patient\na,b,c\n")
    with pytest.raises(DataError, match=r"no column filename; it has path, label, patient"):
        open_radimagenet(root)


@pytest.mark.parametrize(
    "name",
    [
        "CT/abd/normal/a.png",
        "radiology_ai/PET/abd/normal/a.png",
        "radiology_ai/CT/normal/a.png",
        "radiology_ai/US/../gb/../../x.png",
    ],
)
def test_paths_that_do_not_fit_the_layout_are_counted(root: Path, name: str) -> None:
    tabulate(root, "train", (*TRAIN, (name, "x")))
    with pytest.raises(DataError, match=r"1 of 4 paths are not radiology_ai/"):
        open_radimagenet(root)


def test_images_that_are_missing_unlabelled_or_named_twice_are_counted(root: Path) -> None:
    tabulate(root, "train", (*TRAIN, ("radiology_ai/US/gb/gone.png", "usn309850")))
    with pytest.raises(DataError, match=r"1 of 4 images.*gone\.png; unpack"):
        open_radimagenet(root)
    tabulate(root, "train", (*TRAIN, (VAL[0][0], "")))
    with pytest.raises(DataError, match=r"1 images have no label: radiology_ai/MR"):
        open_radimagenet(root)
    tabulate(root, "train", (*TRAIN, VAL[0]))
    with pytest.raises(DataError, match=r"name 1 images more than once: radiology_ai/MR"):
        open_radimagenet(root, ("train", "val"))


def test_what_is_not_there_comes_with_how_to_get_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no RadiologyAI_test\.csv.*accept the agreement"):
        open_radimagenet(root, ("test",))
    with pytest.raises(SetupError, match=r"no RadiologyAI_train\.csv.*given on request"):
        open_radimagenet(tmp_path / "nowhere")


def test_a_table_without_rows_or_of_another_encoding_is_refused(root: Path) -> None:
    (root / "RadiologyAI_train.csv").write_text("filename,label\n")
    with pytest.raises(DataError, match="has no rows"):
        open_radimagenet(root)
    (root / "RadiologyAI_train.csv").write_bytes(b"filename,label\n\xff\xfe,x\n")
    with pytest.raises(DataError, match="no CSV table in UTF-8"):
        open_radimagenet(root)


def test_true_counts_are_compared_with_the_published_total() -> None:
    # OmniRad, Table 2: 1.35 M; the real tables differ a little.
    near = {"train": 1_082_000, "val": 134_900, "test": 135_100}
    assert counts_report(near) == (
        (
            "RadImageNet: train 1,082,000, val 134,900, test 135,100, together 1,352,000; published "
            "are 1,350,000 (within 1%)"
        ),
        True,
    )
    far, close = counts_report({**near, "train": 1_000_000})
    assert "NOT within 1%" in far and not close
    assert counts_report({"train": 5})[0].endswith(
        "no table of val and test, so the total is unknown"
    )


def test_opening_logs_the_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    tabulate(root, "test", (("radiology_ai/US/gb/x.png", "usn309850"),))
    with caplog.at_level(logging.INFO):
        open_radimagenet(root)
    assert [(r.levelname, r.message) for r in caplog.records] == [
        (
            "WARNING",
            (
                "RadImageNet: train 3, val 1, test 1, together 5; published are 1,350,000 "
                "(NOT within 1%)"
            ),
        )
    ]
