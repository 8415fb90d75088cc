"""Archives that attack (row 20 of the plan): nothing is unpacked to the disk, nothing runs.

Datasets are read from within their archive, member by member; no code of ours extracts one.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import omnirad.data.npz
import omnirad.errors
from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, OmnibenchError
from omnibench_plugins.datasets import medmnist, npz
from omnibench_plugins.datasets.facts import ArchiveFacts
from omnibench_plugins.datasets.folder import images

Small = Callable[..., ArchiveFacts]

IMAGES = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)


def npy(array: np.ndarray = IMAGES) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def with_member(name: str, mode: int = 0o644, data: bytes = b"") -> bytes:
    """An archive with sound images and one more member of any name and kind."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", npy())
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as it stands: the constructor would tidy it up
        info.external_attr = mode << 16
        archive.writestr(info, data or npy())
    return out.getvalue()


def tar_with(kind: bytes, target: str) -> bytes:
    """A tar archive whose only member is a link or device, under the name of an npz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("train_images.npy")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(with_member("val_images.npy"))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        data[at + offset] |= 1
    return bytes(data)


def other_method() -> bytes:
    data = bytearray(with_member("val_images.npy"))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.find(signature)
        data[at + offset : at + offset + 2] = struct.pack("<H", 97)
    return bytes(data)


def twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train_images.npy", npy())
        with pytest.warns(UserWarning):
            archive.writestr("train_images.npy", npy(255 - IMAGES))
    return out.getvalue()


def overlapping() -> bytes:
    """Two entries of the directory that share one member (Fifield's bomb in small)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train_images.npy", npy())
        archive.writestr("val_images.npy", npy())
        archive.filelist[1].header_offset = 0
    return out.getvalue()


# What is refused by the reader of published sets.
REFUSED: dict[str, Callable[[], bytes]] = {
    "climbing": lambda: with_member("../evil.npy"),
    "climbing from within": lambda: with_member("a/../../evil.npy"),
    "climbing backwards": lambda: with_member("..\\evil.npy"),
    "absolute": lambda: with_member("/tmp/evil.npy"),
    "a drive": lambda: with_member("C:\\evil.npy"),
    "a folder": lambda: with_member("folder/", stat.S_IFDIR | 0o755),
    "a link out": lambda: with_member("link", stat.S_IFLNK | 0o777, b"/etc/passwd"),
    "a device": lambda: with_member("null", stat.S_IFCHR | 0o666, b"x"),
    "an end of text": lambda: with_member("../evil\x00.npy"),
    "right to left": lambda: with_member("\u202eyspn.npy"),
    "a very long name": lambda: with_member("x" * 60_000),
    "not an array": lambda: with_member("evil.npy", data=b"#!/bin/sh\n"),
    "encrypted": encrypted,
    "a method nobody has": other_method,
    "a name twice": twice,
    "overlapping members": overlapping,
    "tar: a link": lambda: tar_with(tarfile.SYMTYPE, "/etc/passwd"),
    "tar: a hard link": lambda: tar_with(tarfile.LNKTYPE, "../../evil"),
    "tar: a device": lambda: tar_with(tarfile.CHRTYPE, ""),
    "tar: a pipe": lambda: tar_with(tarfile.FIFOTYPE, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_hostile_archive_is_taken_for_a_published_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "inner" / "set.npz"
    path.parent.mkdir()
    path.write_bytes(REFUSED[name]())
    with pytest.raises(IntegrityError, match=r"set\.npz") as caught:
        for found in npz.headers(path):
            npz.read(path, found)
    assert len(str(caught.value)) < 1000, "a stranger's name does not flood the screen"
    assert sorted(tmp_path.rglob("*")) == [path.parent, path], "nothing was written"


@pytest.mark.parametrize("name", REFUSED)
def test_pretraining_refuses_it_or_sees_sound_images_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / "inner" / "set.npz"
    path.parent.mkdir()
    path.write_bytes(REFUSED[name]())
    try:
        source = omnirad.data.npz.open_npz(path)
    except omnirad.errors.DataError as error:
        assert "set.npz" in str(error)
    else:
        seen = [source.image(index) for index in range(len(source))]
        assert name != "a name twice" and all(
            np.array_equal(*pair) for pair in zip(seen, IMAGES, strict=True)
        )
    assert sorted(tmp_path.rglob("*")) == [path.parent, path], "nothing was written"


def bomb(path: Path, name: str, count: int) -> int:
    """Write zeros that say truly what they unpack to; return how many bytes that is."""
    array = np.zeros((count, 28, 28), np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(f"{name}.npy", npy(array))
    return array.nbytes


def peak_while(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        with pytest.raises((OmnibenchError, omnirad.errors.OmniradError)):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_unpacked_by_the_reader_of_published_sets(
    tmp_path: Path, small_set: Small
) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    size = bomb(tmp_path / "medmnist" / "breastmnist.npz", "train_images", 40_000)
    access = DataAccess(root=tmp_path, offline=True, allow_unverified=True, source_size=28)
    assert peak_while(lambda: medmnist.open_set(facts, access)) < size / 10


def test_a_bomb_is_not_unpacked_by_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(omnirad.data.npz, "HARMLESS", 2**20)
    size = bomb(tmp_path / "set.npz", "train_images", 40_000)
    assert peak_while(lambda: omnirad.data.npz.open_npz(tmp_path / "set.npz")) < size / 10


def test_a_bomb_beside_sound_arrays_is_never_touched(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    bomb(tmp_path / "bomb.npz", "extra", 40_000)
    with zipfile.ZipFile(tmp_path / "bomb.npz") as source, zipfile.ZipFile(path, "a") as out:
        out.writestr("extra.npy", source.read("extra.npy"), zipfile.ZIP_DEFLATED)
    access = DataAccess(root=tmp_path, offline=True, allow_unverified=True, source_size=28)
    tracemalloc.start()
    opened = medmnist.open_set(facts, access)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(opened.split("train")) == 4 and peak < 40_000 * 784 / 10


@pytest.mark.parametrize("kind", ["link to nowhere", "folder", "pipe"])
def test_a_data_file_that_is_no_file_is_said(tmp_path: Path, small_set: Small, kind: str) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    path.unlink()
    if kind == "link to nowhere":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    access = DataAccess(root=tmp_path, offline=True, allow_unverified=True, source_size=28)
    with pytest.raises(OmnibenchError, match=r"breastmnist\.npz"):
        medmnist.open_set(facts, access)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size truly and holds a few zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [60_000, 2**31 - 1])
def test_a_picture_of_gigapixels_is_refused_unread(tmp_path: Path, side: int) -> None:
    (tmp_path / "huge.png").write_bytes(png_header(side, side))
    assert peak_while(lambda: images.read_image(tmp_path / "huge.png")) < 2**24
    assert peak_while(lambda: images.image_size(tmp_path / "huge.png")) < 2**24


def test_a_dicom_file_that_claims_gigapixels_is_refused_unread(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "huge.dcm"
    with Path(pydicom.data.get_testdata_file("CT_small.dcm")).open("rb") as stream:
        file = pydicom.dcmread(stream)
    file.Rows = file.Columns = 65_535
    file.save_as(path)
    assert peak_while(lambda: images.read_image(path)) < 2**24
