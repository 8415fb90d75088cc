"""Folders to pretrain on: which images are read, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_images import RNG, save

from omnirad.data.files import open_folder
from omnirad.data.manifest import write_manifest
from omnirad.errors import DataError, SetupError


def test_a_folder_is_read_recursively_in_the_order_of_paths(tmp_path: Path) -> None:
    for name in ("b/z.PNG", "a.jpeg", "b/c/y.jpg", ".hidden/x.png", "notes.txt"):
        save(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).touch()
    source = open_folder(tmp_path)
    assert [source.sample(i).id for i in range(len(source))] == ["a.jpeg", "b/c/y.jpg", "b/z.PNG"]
    assert source.sample(0).source == tmp_path.name


def test_of_a_split_folder_only_the_training_part_is_read(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/b.png", "valid/c.png", "test/d.png", "e.png"):
        save(tmp_path / name)
    assert [s.id for s in open_folder(tmp_path).samples] == ["train/a.png", "train/b.png"]
    both = open_folder(tmp_path, ("train", "val"))
    assert [(s.id, s.split) for s in both.samples][-1] == ("valid/c.png", "val")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(DataError, match=r"holds no PNG or JPEG image.*name another folder"):
        open_folder(tmp_path)
    with pytest.raises(SetupError, match=r"there is no folder .*nowhere"):
        open_folder(tmp_path / "nowhere")


def test_unreadable_images_are_counted_and_named_together(tmp_path: Path) -> None:
    for name in "abcdef":
        save(tmp_path / f"{name}.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:-20])
    flipped = bytearray((tmp_path / "b.png").read_bytes())
    flipped[50] ^= 1
    (tmp_path / "b.png").write_bytes(flipped)
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "d.png").write_bytes(b"GIF89a")
    manifest = tmp_path / "manifest.csv"
    with pytest.raises(DataError) as caught:
        write_manifest(open_folder(tmp_path), manifest)
    text = str(caught.value)
    assert text.startswith("4 of 6 images cannot be read: a.png, b.png, c.png and 1 more")
    assert "the first says: a.png" in text and text.endswith("replace or remove them")
    assert list(tmp_path.glob("*manifest*")) == []


def test_a_truncated_jpeg_is_found_before_training(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read: a\.jpg"):
        write_manifest(open_folder(tmp_path), tmp_path / "m.csv")


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    source = open_folder(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read: No such file"):
        source.image(0)
