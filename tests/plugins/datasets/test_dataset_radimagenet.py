"""The dataset plugin `radimagenet` on a small tree in the real layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnibench.cards import SPLITS, DataAccess, DatasetSpec
from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets import omnibench_datasets
from omnibench_plugins.datasets.radimagenet import COLLECTION
from omnirad.data import radimagenet

# Label folders repeat across anatomies (`normal`), and ultrasound has no anatomy.
ROWS = {
    "train": (("CT/abd/normal/a.png", "abd-normal"), ("US/gb/b.png", "usn309850"),
              ("MR/knee/normal/c.png", "knee-normal")),
    "val": (("MR/knee/normal/d.png", "knee-normal"),),
    "test": (("CT/abd/normal/e.png", "abd-normal"), ("MR/hip/normal/f.png", "hip-normal")),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / COLLECTION
    value = 0
    for split, rows in ROWS.items():
        lines = ["filename,label"]
        for path, label in rows:
            file = root / "radiology_ai" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            value += 10
            Image.fromarray(np.full((6, 5), value, np.uint8)).save(file)
            lines.append(f"radiology_ai/{path},{label}")
        (root / f"RadiologyAI_{split}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def card() -> DatasetSpec:
    return next(
        c for c in omnibench_datasets() if isinstance(c, DatasetSpec) and c.name == "radimagenet"
    )


def test_classes_come_from_the_tables_and_splits_are_the_official_ones(tree: Path) -> None:
    dataset = card().open(DataAccess(root=tree, allow_unverified=True))
    assert dataset.classes == ("abd-normal", "hip-normal", "knee-normal", "usn309850")
    assert [len(dataset.split(name)) for name in SPLITS] == [3, 1, 2]
    train = dataset.split("train")
    assert [train.target(i) for i in range(3)] == [0, 2, 3]
    assert [int(train.image(i)[0, 0]) for i in range(3)] == [10, 30, 20]
    ids = np.concatenate([dataset.split(name).ids for name in SPLITS])
    assert sorted(ids) == list(range(6))
    assert all((np.diff(dataset.split(name).ids) > 0).all() for name in SPLITS)
    assert dataset.facts["unverified"] == "true"
    assert "train 3, val 1, test 2, together 6" in dataset.facts["counts"]


def test_a_part_of_radimagenet_is_not_called_radimagenet_unasked(tree: Path) -> None:
    with pytest.raises(IntegrityError, match=r"together 6;.*--allow-unverified-data"):
        card().open(DataAccess(root=tree))


def test_the_true_count_may_differ_by_one_percent(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radimagenet, "PUBLISHED_TOTAL", 6)
    dataset = card().open(DataAccess(root=tree))
    assert "unverified" not in dataset.facts


def test_the_digest_follows_labels_and_files(tree: Path) -> None:
    def digest() -> str:
        return card().open(DataAccess(root=tree, allow_unverified=True)).digest

    first = digest()
    assert digest() == first
    table = tree / COLLECTION / "RadiologyAI_val.csv"
    table.write_text(table.read_text().replace("knee-normal", "hip-normal"))
    relabelled = digest()
    Image.new("L", (40, 40)).save(tree / COLLECTION / "radiology_ai/US/gb/b.png")
    assert len({first, relabelled, digest()}) == 3


def _without_tables(root: Path) -> None:
    (root / "RadiologyAI_val.csv").unlink()


def _without_an_image(root: Path) -> None:
    (root / "radiology_ai/MR/hip/normal/f.png").unlink()


def _other_columns(root: Path) -> None:
    (root / "RadiologyAI_val.csv").write_text("path,class\na,b\n")


@pytest.mark.parametrize(
    ("damage", "error", "text"),
    [
        (_without_tables, SetupError, r"no RadiologyAI_val\.csv.*radimagenet\.com"),
        (_without_an_image, IntegrityError, r"1 of 6 images.*f\.png"),
        (_other_columns, IntegrityError, "no column filename and no column label.*path, class"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    tree: Path, damage: Callable[[Path], None], error: type[Exception], text: str
) -> None:
    damage(tree / COLLECTION)
    with pytest.raises(error, match=text):
        card().open(DataAccess(root=tree, allow_unverified=True))


def test_without_the_folder_the_user_learns_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"given on request: ask at https://www\.radimagenet\.com"):
        card().open(DataAccess(root=tmp_path))


def test_a_damaged_image_is_an_error_of_integrity(tree: Path) -> None:
    dataset = card().open(DataAccess(root=tree, allow_unverified=True))
    (tree / COLLECTION / "radiology_ai/CT/abd/normal/a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(IntegrityError, match=r"a\.png cannot be read"):
        dataset.split("train").image(0)
