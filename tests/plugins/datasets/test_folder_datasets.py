"""Any folder: what is found in it, ids and digests, names that show no path, and clear refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from written_folders import SPLITS, class_folders, every_sample, masks, opened, picture, table

from omnibench.cards import check_name
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench_plugins.datasets.folder.card import make


def test_ids_are_positions_in_the_sorted_listing(tmp_path: Path) -> None:
    dataset = opened(class_folders(tmp_path, a=5, b=5))
    samples = every_sample(dataset)
    assert sorted(samples) == list(range(10))
    assert all(target == (sample_id >= 5) for sample_id, (_, target) in samples.items())
    for name in SPLITS:
        assert (np.diff(dataset.split(name).ids) > 0).all()


def test_numbered_classes_are_in_numeric_order(tmp_path: Path) -> None:
    dataset = opened(class_folders(tmp_path, **{"10": 5, "2": 5, "1": 5}))
    assert dataset.classes == ("1", "2", "10")


def test_opening_twice_gives_the_same_digest_and_a_changed_label_another(tmp_path: Path) -> None:
    class_folders(tmp_path, a=10, b=10)
    first = opened(tmp_path)
    assert opened(tmp_path).digest == first.digest
    (tmp_path / "a" / "003.png").rename(tmp_path / "b" / "999.png")
    assert opened(tmp_path).digest != first.digest


def test_a_changed_pixel_changes_the_digest(tmp_path: Path) -> None:
    class_folders(tmp_path, a=10, b=10)
    before = opened(tmp_path).digest
    picture(tmp_path / "a" / "003.png")
    assert opened(tmp_path).digest != before


def test_a_missing_path_and_an_empty_folder_are_setup_errors(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no folder"):
        make(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SetupError, match="holds no PNG, JPEG or DICOM image"):
        make(str(tmp_path))


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/images", "circle"])
def test_a_path_that_cannot_be_followed_is_a_setup_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    with pytest.raises(SetupError, match="folder"):
        make(path)


def test_an_empty_path_is_not_the_working_folder() -> None:
    with pytest.raises(UsageError, match="folder: takes a path"):
        make(" ")


def test_images_alone_have_no_targets(tmp_path: Path) -> None:
    for index in range(10):
        picture(tmp_path / f"{index}.png")
    dataset = opened(tmp_path)
    assert (dataset.kind, dataset.classes) == ("images", ())
    assert dataset.split("train").target(0) is None


def test_unreadable_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    class_folders(tmp_path, a=10, b=10)
    for index in range(5):
        (tmp_path / "a" / f"{index:03}.png").write_bytes(b"<html>")
    with pytest.raises(
        IntegrityError,
        match=r"5 of 20 images cannot be read: a/000.png, a/001.png, a/002.png and 2 more",
    ):
        opened(tmp_path)


def test_hidden_files_are_not_images(tmp_path: Path) -> None:
    class_folders(tmp_path, a=10, b=10)
    (tmp_path / "a" / "._000.png").write_bytes(b"resource fork")
    assert len(every_sample(opened(tmp_path))) == 20


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    class_folders(tmp_path / "elsewhere", a=10)
    class_folders(tmp_path / "study", b=10)
    (tmp_path / "study" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "study" / "b" / "circle").symlink_to(tmp_path / "study" / "b")
    dataset = opened(tmp_path / "study")
    assert dataset.classes == ("a", "b")
    assert len(every_sample(dataset)) == 20


def test_captions_come_before_masks_and_masks_before_classes(tmp_path: Path) -> None:
    masks(tmp_path, 10)
    assert make(str(tmp_path)).kind == "masks"
    (tmp_path / "captions.csv").write_text("ID,Caption\n")
    assert make(str(tmp_path)).kind == "captions"


def test_names_are_safe_tell_folders_apart_and_show_no_path(tmp_path: Path) -> None:
    one = class_folders(tmp_path / "site one" / "Röntgen Büro (2024)", a=3, b=3)
    two = class_folders(tmp_path / "site two" / "Röntgen Büro (2024)", a=3, b=4)
    names = [make(str(folder)).name for folder in (one, two)]
    assert names[0] != names[1]
    for name in names:
        check_name(name, "dataset")
        assert name.startswith("folder-r-ntgen-b-ro-2024-")


def test_the_card_and_the_opened_dataset_share_the_name(tmp_path: Path) -> None:
    class_folders(tmp_path, a=10, b=10)
    assert make(str(tmp_path)).name == opened(tmp_path).name


@pytest.mark.parametrize("layout", ["classes", "masks", "metadata"])
def test_nothing_a_record_keeps_tells_paths_or_file_names(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "study"
    options: Mapping[str, str] = {}
    if layout == "masks":
        masks(root, 10)
    else:
        class_folders(root, a=10, b=10)
    if layout == "metadata":
        table(root, [f"{c}/{i:03}.png,{c},mary{i}" for c in "ab" for i in range(10)])
        options = {"label_column": "label", "group_column": "patient"}
    dataset = opened(root, **options)
    kept = json.dumps([dataset.name, dict(dataset.facts), dataset.digest, dataset.classes])
    for secret in (str(tmp_path), ".png", "003", "mary"):
        assert secret not in kept
