"""Folders: five layouts, drawn splits, and what is wrong with them said clearly."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnibench.cards import DataAccess, check_name
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets import rocov2
from omnibench_plugins.datasets.folder.card import make

SPLITS = ("train", "val", "test")
RNG = np.random.default_rng(0)


def opened(root: Path, **options: str) -> Dataset:
    return make(str(root)).open(DataAccess(root=Path("/nowhere"), offline=True, options=options))


def picture(path: Path, content: np.ndarray | None = None) -> Path:
    """Writes a small image, random unless given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (8, 8), dtype=np.uint8) if content is None else content
    Image.fromarray(pixels).save(path)
    return path


def class_folders(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        for index in range(count):
            picture(root / name / f"{index:03}.png")
    return root


def masks(root: Path, count: int, value: int = 255) -> Path:
    for index in range(count):
        mask = np.zeros((8, 8), np.uint8)
        mask[: index % 8 + 1] = value
        picture(root / "images" / f"{index:03}.png")
        picture(root / "masks" / f"{index:03}.png", mask)
    return root


def every_sample(dataset: Dataset) -> dict[int, tuple[str, object]]:
    return {
        int(split.ids[i]): (name, split.target(i))
        for name in SPLITS
        for split in [dataset.split(name)]
        for i in range(len(split))
    }


# -- class folders and drawn splits ----------------------------------------------------


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


def test_ids_are_positions_in_the_sorted_listing(tmp_path: Path) -> None:
    dataset = opened(class_folders(tmp_path, a=5, b=5))
    samples = every_sample(dataset)
    assert sorted(samples) == list(range(10))
    assert all(target == (sample_id >= 5) for sample_id, (_, target) in samples.items())
    for name in SPLITS:
        assert (np.diff(dataset.split(name).ids) > 0).all()


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


def test_numbered_classes_are_in_numeric_order(tmp_path: Path) -> None:
    dataset = opened(class_folders(tmp_path, **{"10": 5, "2": 5, "1": 5}))
    assert dataset.classes == ("1", "2", "10")


def test_too_few_images_to_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="4 images are too few to split in three"):
        opened(class_folders(tmp_path, a=2, b=2))


# -- given splits ----------------------------------------------------------------------


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


# -- metadata --------------------------------------------------------------------------


def table(root: Path, rows: list[str], header: str = "image,label,patient") -> Path:
    (root / "metadata.csv").write_text("\n".join([header, *rows]))
    return root


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


# -- masks -----------------------------------------------------------------------------


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


def test_masks_can_be_split_by_patient(tmp_path: Path) -> None:
    masks(tmp_path, 20)
    table(tmp_path, [f"{i:03}.png,p{i % 5}" for i in range(20)], "image,patient")
    dataset = opened(tmp_path, group_column="patient")
    groups = [set(np.asarray(dataset.split(name).groups).tolist()) for name in SPLITS]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_a_label_column_makes_no_sense_beside_other_targets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"label_column is for folders with metadata\.csv"):
        opened(masks(tmp_path, 10), label_column="x")
    (tmp_path / "captions.csv").write_text("ID,Caption\n000,text\n")
    with pytest.raises(UsageError, match=r"label_column is for folders with metadata\.csv"):
        opened(tmp_path, label_column="x")


# -- captions --------------------------------------------------------------------------


def test_one_captions_table_is_split_and_repeated_ids_are_several_captions(tmp_path: Path) -> None:
    rows = ["ID,Caption"]
    for index in range(20):
        picture(tmp_path / f"c{index:02}.png")
        rows.append(f'c{index:02},"A scan, number {index}."')
    rows.append("c00,A second description.")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    dataset = opened(tmp_path)
    assert dataset.kind == "captions"
    samples = every_sample(dataset)
    assert samples[0][1] == ("A scan, number 0.", "A second description.")
    assert samples[7][1] == ("A scan, number 7.",)


def test_an_empty_caption_and_a_missing_image_are_named(tmp_path: Path) -> None:
    for index in range(12):
        picture(tmp_path / f"c{index:02}.png")
    rows = [f"c{index:02},text" for index in range(12)]
    (tmp_path / "captions.csv").write_text("\n".join(["ID,Caption", *rows, "c11,"]))
    with pytest.raises(IntegrityError, match="1 captions are empty: c11"):
        opened(tmp_path)
    (tmp_path / "captions.csv").write_text("\n".join(["ID,Caption", *rows, "c77,text"]))
    with pytest.raises(IntegrityError, match=r"captions.csv names 1 of 13 images.*c77"):
        opened(tmp_path)


def test_real_captions_open_in_their_given_splits(test_data: Path) -> None:
    dataset = opened(test_data / "data" / "roco_ccby")
    assert [len(dataset.split(name)) for name in SPLITS] == [900, 150, 150]
    assert dataset.split("test").target(0) == ("Dosimetric results obtained with RapidArc.",)
    assert dataset.split("val").image(3).dtype == np.uint8
    ids = [set(dataset.split(name).ids.tolist()) for name in SPLITS]
    assert len(ids[0] | ids[1] | ids[2]) == 1200


def test_real_radiographs_are_split_by_patient(test_data: Path) -> None:
    root = test_data / "data" / "hannover_cxr"
    dataset = opened(root, label_column="projection", group_column="patient_id")
    assert dataset.classes == ("ap", "pa")
    labels = Counter(target for _, target in every_sample(dataset).values())
    assert labels == {0: 194, 1: 49}  # README of the test data
    groups = [set(np.asarray(dataset.split(name).groups).tolist()) for name in SPLITS]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups)) == 71
    assert all({0, 1} == {t for n, t in every_sample(dataset).values() if n == s} for s in SPLITS)


# -- ROCOv2 through the same door ------------------------------------------------------


def test_rocov2_says_how_it_must_lie(tmp_path: Path) -> None:
    (card,) = rocov2.cards()
    with pytest.raises(SetupError, match=r"lacks train_captions.csv, valid_captions.csv"):
        card.open(DataAccess(root=tmp_path))


def test_a_part_of_rocov2_is_refused_or_marked(tmp_path: Path, test_data: Path) -> None:
    (tmp_path / "rocov2").symlink_to(test_data / "data" / "roco_ccby")
    (card,) = rocov2.cards()
    with pytest.raises(IntegrityError, match=r"\(900, 150, 150\) captioned images, \(59958"):
        card.open(DataAccess(root=tmp_path))
    marked = card.open(DataAccess(root=tmp_path, allow_unverified=True))
    assert (marked.name, marked.facts["unverified"]) == ("rocov2", "true")


# -- any folder ------------------------------------------------------------------------


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
