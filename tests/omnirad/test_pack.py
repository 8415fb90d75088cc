"""Packed shards: what is written is what was there, and nothing damaged is read."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnirad.data import packing
from omnirad.data.decoding import luma
from omnirad.data.files import FileSource, open_folder
from omnirad.data.manifest import write_manifest
from omnirad.data.packed import INDEX_FILE, MANIFEST, META, Encoding, open_packed, shard_name
from omnirad.data.packing import encode, pack
from omnirad.errors import DataError, IntegrityError, OmniradError, SetupError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> FileSource:
    """Twelve images of several sizes, two of them coloured."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    root.mkdir()
    for number in range(12):
        shape = (20 + number, 30) + ((3,) if number % 5 == 4 else ())
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(
            root / f"{number:02d}.png"
        )
    return open_folder(root)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_images_that_are_small_enough_come_back_pixel_by_pixel(
    folder: FileSource, tmp_path: Path, encoding: Encoding
) -> None:
    packed = pack(folder, tmp_path / "out", encoding=encoding, shard_bytes=2500)
    assert len(packed) == 12 and packed.name == "images"
    assert len(list((tmp_path / "out").glob("shard-*.bin"))) > 2
    again = pickle.loads(pickle.dumps(open_packed(tmp_path / "out")))
    for index in range(12):
        assert (again.image(index) == luma(folder.image(index))).all()
        assert again.sample(index) == folder.sample(index)
    assert not (tmp_path / "out.partial").exists()


def test_larger_images_are_shrunk_to_a_shorter_side() -> None:
    image = np.zeros((300, 600, 3), dtype=np.uint8)
    assert encode(image, 100, "raw")[1:] == (100, 200)
    assert len(encode(image, 100, "raw")[0]) == 100 * 200
    assert encode(np.zeros((50, 400), np.uint8), 100, "raw")[1:] == (50, 400)


def test_the_manifest_of_a_pack_is_the_one_that_its_images_give(
    folder: FileSource, tmp_path: Path
) -> None:
    packed = pack(folder, tmp_path / "out")
    digest = write_manifest(packed, tmp_path / "manifest.csv")
    assert digest == packed.manifest_digest
    assert (tmp_path / "manifest.csv").read_bytes() == (tmp_path / "out" / MANIFEST).read_bytes()
    meta = json.loads((tmp_path / "out" / META).read_text())
    assert meta["source_manifest"] == write_manifest(folder, tmp_path / "source.csv")
    assert set(meta["files"]) == {MANIFEST, INDEX_FILE, shard_name(0)}


def test_labels_are_numbered_in_the_index(tmp_path: Path) -> None:
    from omnirad.data.npz import open_npz

    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "s.npz", train_images=images, train_labels=np.array([[1], [0], [7], [1]]))
    pack(open_npz(tmp_path / "s.npz"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / META).read_text())["labels"] == ["0", "1", "7"]
    assert np.load(tmp_path / "out" / INDEX_FILE)["label"].tolist() == [1, 0, 2, 1]
    assert open_packed(tmp_path / "out").sample(2).label == "7"


@pytest.mark.parametrize("bit", [0, 1000, -1])
def test_a_flipped_bit_in_a_shard_is_found_before_the_image_is_used(
    folder: FileSource, tmp_path: Path, bit: int
) -> None:
    pack(folder, tmp_path / "out", encoding="raw")
    shard = tmp_path / "out" / shard_name(0)
    data = bytearray(shard.read_bytes())
    data[bit] ^= 1
    shard.write_bytes(data)
    packed = open_packed(tmp_path / "out")
    lengths = np.load(tmp_path / "out" / INDEX_FILE)["length"]
    victim = int(np.searchsorted(np.cumsum(lengths), bit % len(data), side="right"))
    with pytest.raises(IntegrityError, match=rf"image {victim} of .* is damaged.*pack again"):
        packed.image(victim)
    with pytest.raises(DataError, match="1 of 12 images cannot be read"):
        write_manifest(packed, tmp_path / "m.csv")


@pytest.mark.parametrize("name", [INDEX_FILE, MANIFEST])
def test_a_flipped_bit_in_index_or_manifest_is_found_on_opening(
    folder: FileSource, tmp_path: Path, name: str
) -> None:
    pack(folder, tmp_path / "out")
    path = tmp_path / "out" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        open_packed(tmp_path / "out")


def test_missing_truncated_and_foreign_files_are_found_on_opening(
    folder: FileSource, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pack(folder, out)
    shard = out / shard_name(0)
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(
        IntegrityError, match=rf"has {len(data) - 1} bytes, {len(data)} were packed"
    ):
        open_packed(out)
    shard.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        open_packed(out)
    (out / META).write_text(json.dumps({"format": "other", "files": {}}))
    with pytest.raises(DataError, match=r"has the format 'other'"):
        open_packed(out)
    (out / META).write_text("{")
    with pytest.raises(DataError, match="holds no packed shards"):
        open_packed(out)
    with pytest.raises(SetupError, match="there is no folder"):
        open_packed(tmp_path / "nowhere")


class Stopping:
    """A progress that stops everything after some images."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.label = ""

    def start(self, label: str, total: int) -> None:
        self.label = label

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps if self.label == "packing images" else 0
        if self.left < 0:
            raise KeyboardInterrupt


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_stopped_pack_is_finished_by_the_same_call_with_the_same_result(
    folder: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    pack(folder, whole, shard_bytes=2000)
    with pytest.raises(KeyboardInterrupt):
        pack(folder, stopped, shard_bytes=2000, progress=Stopping(after=7))
    assert not stopped.exists()
    finished = len(list((tmp_path / "stopped.partial").glob("shard-*.csv")))
    assert finished >= 2
    written = []
    original = packing._write_shard

    def counted(*args: object) -> int:
        written.append(args[2])
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_write_shard", counted)
    pack(folder, stopped, shard_bytes=2000)
    assert written[0] == finished
    assert files_of(stopped) == files_of(whole)


def test_a_stopped_pack_is_not_continued_with_other_images_or_settings(
    folder: FileSource, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(folder, tmp_path / "out", progress=Stopping(after=5))
    with pytest.raises(DataError, match=r"stopped pack with other values of size;.*remove"):
        pack(folder, tmp_path / "out", size=64)
    shutil.copy(folder.root / "01.png", folder.root / "00.png")
    with pytest.raises(DataError, match="other values of source_manifest"):
        pack(folder, tmp_path / "out")


def test_nothing_is_overwritten(folder: FileSource, tmp_path: Path) -> None:
    pack(folder, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(SetupError, match="exists already"):
        pack(folder, tmp_path / "out", size=10)
    assert files_of(tmp_path / "out") == before


def test_too_little_space_is_said_before_anything_is_packed(
    folder: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 3000))
    with pytest.raises(SetupError, match=r"packing 12 images needs about 0\.00 GB.*free some"):
        pack(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "out.partial").glob("shard*")) == []


def test_a_disk_that_fills_up_on_the_way_is_an_error_of_setup_and_can_be_resumed(
    folder: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(SetupError, match="No space left on device; free some space") as caught:
            pack(folder, tmp_path / "out")
    assert isinstance(caught.value, OmniradError) and caught.value.exit_code == 5
    assert len(pack(folder, tmp_path / "out")) == 12


def test_damaged_images_stop_a_pack_before_it_writes(folder: FileSource, tmp_path: Path) -> None:
    for name in ("03.png", "07.png"):
        (folder.root / name).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"2 of 12 images cannot be read: 03\.png, 07\.png"):
        pack(folder, tmp_path / "out")
    assert list((tmp_path / "out.partial").iterdir()) == []


def test_sizes_and_encodings_that_cannot_be_meant_are_refused(
    folder: FileSource, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="size 0"):
        pack(folder, tmp_path / "out", size=0)
    with pytest.raises(UsageError, match="'webp': give 1 or more, and png or raw"):
        pack(folder, tmp_path / "out", encoding="webp")  # type: ignore[arg-type]
