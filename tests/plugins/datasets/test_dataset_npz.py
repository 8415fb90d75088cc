"""Archives of strangers: damaged, forged or hostile ones are refused in one line."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError
from omnibench_plugins.datasets import medmnist, npz
from omnibench_plugins.datasets.facts import ArchiveFacts

Small = Callable[..., ArchiveFacts]


def member(shape: tuple[int, ...], payload: bytes, descr: str = "|u1") -> bytes:
    """Returns a .npy member whose header says `shape` whatever the payload is."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + payload


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(f"{name}.npy", content)
    return path


def open_small(root: Path, facts: ArchiveFacts, unverified: bool = True) -> object:
    return medmnist.open_set(
        facts,
        DataAccess(root=root, offline=True, allow_unverified=unverified, source_size=28),
    )


def test_headers_tell_shape_and_type_without_reading(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2, 3), np.uint8), y=np.zeros(4))
    found = npz.headers(tmp_path / "a.npz")
    assert found["x"] == ((2, 3), np.dtype("uint8"))
    assert found["y"] == ((4,), np.dtype("float64"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_a_truncated_archive_is_refused(tmp_path: Path, small_set: Small, share: float) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(IntegrityError, match=r"breastmnist.npz is damaged"):
        open_small(tmp_path, facts)


def test_a_flipped_byte_in_the_images_shows_at_opening(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    content = bytearray(path.read_bytes())
    content[600] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match=r"breastmnist\.npz is damaged"):
        open_small(tmp_path, facts)


def test_a_header_that_asks_for_a_tebibyte_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", train_images=member((2**20, 2**20), b"\0" * 100))
    with pytest.raises(IntegrityError, match=r"asks for 1099511627776 bytes.*holds 100"):
        npz.headers(path)


def test_a_negative_shape_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", train_images=member((-10, -10), b"\0" * 100))
    with pytest.raises(IntegrityError):
        npz.headers(path)


def test_a_bomb_that_declares_more_samples_than_published_is_refused(
    tmp_path: Path, small_set: Small
) -> None:
    many = np.zeros((5000, 28, 28), np.uint8)
    facts = small_set(tmp_path, "medmnist", "breastmnist", train_images=many)
    with pytest.raises(IntegrityError, match=r"\(5000, 28, 28\), \(4, 28, 28\) was expected"):
        open_small(tmp_path, facts)


def test_a_central_directory_that_lies_about_sizes_is_refused(
    tmp_path: Path, small_set: Small
) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        true_size = opened.getinfo("train_images.npy").file_size
    start = content.rindex(b"PK\x01\x02", 0, content.index(b"train_images.npy", len(content) // 2))
    at = content.index(struct.pack("<I", true_size), start)
    path.write_bytes(content[:at] + struct.pack("<I", 2**31) + content[at + 4 :])
    with pytest.raises(IntegrityError, match="asks for 3136 bytes"):
        open_small(tmp_path, facts)


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path, small_set: Small) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    hostile = np.empty(4, dtype=object)
    hostile[0] = Canary()
    facts = small_set(tmp_path, "medmnist", "breastmnist", train_images=hostile)
    with pytest.raises(IntegrityError, match="holds Python objects"):
        open_small(tmp_path, facts)
    assert not (tmp_path / "executed").exists()


def test_a_member_that_climbs_out_of_the_archive_is_refused(
    tmp_path: Path, small_set: Small
) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("../evil.npy", b"x")
    with pytest.raises(IntegrityError, match=r"'\.\./evil\.npy', plain array names were expected"):
        open_small(tmp_path, facts)


def test_a_missing_array_is_named(tmp_path: Path, small_set: Small) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    with np.load(path) as arrays:
        kept = {key: arrays[key] for key in arrays.files if key != "test_labels"}
    np.savez_compressed(path, **kept)
    with pytest.raises(IntegrityError, match="no array 'test_labels'; it has test_images"):
        open_small(tmp_path, facts)


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html><html></html>", b"plain text", b"PK\x05\x06" + b"\0" * 18]
)
def test_other_files_are_refused(tmp_path: Path, small_set: Small, content: bytes) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist")
    (tmp_path / "medmnist" / "breastmnist.npz").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"breastmnist\.npz"):
        open_small(tmp_path, facts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_images": np.zeros((2, 28, 28), np.float32)}, "float32 numbers, uint8"),
        ({"val_images": np.zeros((2, 28, 28, 3), np.uint8)}, r"\(2, 28, 28\) was expected"),
        ({"val_images": np.zeros((2, 64, 64), np.uint8)}, r"\(2, 28, 28\) was expected"),
        ({"val_images": np.zeros((0, 28, 28), np.uint8)}, r"\(2, 28, 28\) was expected"),
        ({"val_images": np.zeros((1, 28, 28), np.uint8)}, "1 images and 2 targets in val"),
        ({"val_labels": np.array([[0], [7]], np.uint8)}, "val_labels holds the values 0 to 7"),
        ({"val_labels": np.array([[0], [-1]])}, "val_labels holds the values -1 to 0"),
        ({"val_labels": np.array([[0.0], [0.5]])}, "float64 numbers, uint8"),
    ],
)
def test_arrays_that_do_not_fit_the_card_are_refused(
    tmp_path: Path, small_set: Small, changed: dict[str, np.ndarray], message: str
) -> None:
    facts = small_set(tmp_path, "medmnist", "breastmnist", **changed)
    with pytest.raises(IntegrityError, match=message):
        open_small(tmp_path, facts)
