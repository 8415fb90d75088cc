"""Captioned folders: tables, concepts, articles, and everything wrong with them told at once."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written_folders import every_sample, opened, picture

from omnibench.errors import IntegrityError, UsageError
from omnibench.interfaces import ConceptSplit
from omnibench.subset import Subset

SPLITS = {"train": "train", "val": "valid", "test": "test"}
COUNTS = {"train": 4, "valid": 2, "test": 3}


def write(root: Path, name: str, *rows: str) -> None:
    (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder laid out as ROCOv2's files are."""
    rng = np.random.default_rng(0)
    licences = ["ID,Split,PMCID"]
    for split, count in COUNTS.items():
        (tmp_path / split).mkdir()
        captions, concepts = ["ID,Caption"], ["ID,CUIs"]
        for number in range(count):
            key = f"{split}_{number}"
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{key}.png")
            captions.append(f'{key},"CT, slice {number} of {split}"')
            concepts.append(f"{key},C2;C1;C1" if number else f"{key},")
            licences.append(f"{key},{split},PMC{split}{number // 2}")
        write(tmp_path, f"{split}_captions.csv", *captions)
        write(tmp_path, f"{split}_concepts.csv", *concepts)
    write(tmp_path, "license_information.csv", *licences)
    return tmp_path


def problems(root: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        opened(root)
    return str(caught.value)


def test_captions_concepts_and_articles_are_read(folder: Path) -> None:
    dataset = opened(folder)
    assert dataset.kind == "captions"
    for name, written in SPLITS.items():
        split = dataset.split(name)
        assert isinstance(split, ConceptSplit)
        assert split.target(1) == (f"CT, slice 1 of {written}",)
        assert (split.concepts(0), split.concepts(1)) == ((), ("C1", "C2"))
    groups = [dataset.split(name).groups for name in SPLITS]
    assert [len(np.unique(g)) for g in groups if g is not None] == [2, 1, 2]
    assert len(np.unique(np.concatenate(groups))) == 5


def test_concepts_and_articles_are_part_of_the_digest(folder: Path) -> None:
    whole = opened(folder).digest
    write(folder, "test_concepts.csv", "ID,CUIs", "test_0,C9")
    changed = opened(folder).digest
    (folder / "license_information.csv").unlink()
    assert len({whole, changed, opened(folder).digest}) == 3


def test_without_concept_tables_there_are_no_concepts(folder: Path) -> None:
    for name in COUNTS:
        (folder / f"{name}_concepts.csv").unlink()
    dataset = opened(folder)
    assert not isinstance(dataset.split("test"), ConceptSplit)
    assert "concepts" not in dataset.facts


def test_a_subset_of_a_folder_has_concepts(folder: Path) -> None:
    some = Subset(opened(folder), (2, 2, 2)).split("test")
    assert isinstance(some, ConceptSplit) and len(some) == 2


def test_everything_wrong_is_told_at_once_with_numbers_and_names(folder: Path) -> None:
    (folder / "train" / "train_0.png").unlink()
    (folder / "train" / "train_1.png").write_bytes(b"no image")
    (folder / "train" / "stray.png").write_bytes((folder / "test" / "test_0.png").read_bytes())
    write(
        folder,
        "train_captions.csv",
        "ID,Caption",
        "train_0,a",
        "train_1,b",
        "train_2,",
        "train_3,d",
        "train_3,d",
        ",nobody's",
    )
    (folder / "valid_captions.csv").write_bytes(
        "ID,Caption\nvalid_0,œdème\n".encode("latin-1", "replace") + b"\xe9\n"
    )
    write(folder, "test_captions.csv", "ID,Text", "test_0,a")
    write(folder, "train_concepts.csv", "ID,CUIs", "train_9,C1")
    said = problems(folder)
    for expected in (
        "9 things are wrong with",
        "train_captions.csv: 1 rows have no ID",
        "train_captions.csv: 1 captions are empty: train_2",
        "train_captions.csv: 1 ids stand more than once with one caption: train_3",
        "train_captions.csv names 1 of 4 images that are not in the folder: train_0",
        "1 of 4 images have no caption in train_captions.csv: train/stray.png",
        "train_concepts.csv names 1 ids without caption: train_9",
        "valid_captions.csv is no CSV file in UTF-8",
        "test_captions.csv has no column caption: its columns are ID, Text",
        "images cannot be read: train/train_1.png",
    ):
        assert expected in said


def test_an_id_in_two_splits_is_named_with_one_image_or_two(folder: Path) -> None:
    with (folder / "test_captions.csv").open("a") as stream:
        stream.write("train_1,again\n")
    said = problems(folder)
    assert "1 ids are in more than one split: train_1" in said
    assert "test_captions.csv names 1 of 4 images that are not in the folder: train_1" in said
    (folder / "test" / "train_1.png").write_bytes((folder / "train" / "train_1.png").read_bytes())
    assert problems(folder).startswith("1 ids are in more than one split: train_1")


def test_an_article_in_two_splits_is_refused(folder: Path) -> None:
    table = folder / "license_information.csv"
    table.write_text(table.read_text().replace("PMCtest0", "PMCtrain0"))
    assert "1 groups are in more than one split: PMCtrain0" in problems(folder)


def test_an_image_without_article_is_named(folder: Path) -> None:
    table = folder / "license_information.csv"
    table.write_text(table.read_text().replace("test_2,test,PMCtest1", "test_2,test,"))
    assert problems(folder).endswith("has no PMCID for 1 images: test_2")


def test_a_table_of_licences_without_articles_gives_no_groups(folder: Path) -> None:
    write(folder, "license_information.csv", "ID,License", "test_0,CC BY")
    assert opened(folder).split("test").groups is None


def test_concepts_of_some_splits_only_are_refused(folder: Path) -> None:
    (folder / "valid_concepts.csv").unlink()
    assert "some splits have a table of concepts, others have none" in problems(folder)


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


def test_several_captions_of_one_image_are_kept_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (folder / "test_captions.csv").open("a") as stream:
        stream.write("test_1,Another text\n")
    with caplog.at_level(logging.WARNING):
        dataset = opened(folder)
    assert dataset.split("test").target(1) == ("CT, slice 1 of test", "Another text")
    assert "test_captions.csv: 1 ids stand more than once (test_1)" in caplog.text


def test_a_group_column_of_the_tables_comes_before_articles(folder: Path) -> None:
    for name, count in COUNTS.items():
        rows = [f"{name}_{i},text {i},{name}" for i in range(count)]
        write(folder, f"{name}_captions.csv", "ID,Caption,patient", *rows)
    dataset = opened(folder, group_column="patient")
    assert [len(np.unique(dataset.split(name).groups)) for name in SPLITS] == [1, 1, 1]
    with pytest.raises(UsageError, match=r"group_column=patiant.*Did you mean patient"):
        opened(folder, group_column="patiant")


def test_real_captions_open_in_their_given_splits(test_data: Path) -> None:
    dataset = opened(test_data / "data" / "roco_ccby")
    assert [len(dataset.split(name)) for name in SPLITS] == [900, 150, 150]
    assert dataset.split("test").target(0) == ("Dosimetric results obtained with RapidArc.",)
    assert dataset.split("val").image(3).dtype == np.uint8
    ids = [set(dataset.split(name).ids.tolist()) for name in SPLITS]
    assert len(ids[0] | ids[1] | ids[2]) == 1200


def test_real_captions_have_concepts_and_articles(test_data: Path) -> None:
    dataset = opened(test_data / "data" / "roco_ccby")
    groups = [set(np.asarray(dataset.split(name).groups).tolist()) for name in SPLITS]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    test = dataset.split("test")
    assert isinstance(test, ConceptSplit)
    assert test.concepts(0) == ()
    assert test.concepts(1)[:2] == ("C0013687", "C0043299")
