"""Packed shards: encoded images one after the other in large files, mapped into memory.

    meta.json         format, how images were packed, labels, digests of every other file
    manifest.csv      one line for every image (`omnirad.data.manifest.COLUMNS`)
    index.npy         where each image lies (`INDEX`)
    shard-00000.bin   encoded bytes, at most 256 MB a file

Any image is read in one step, so that a global permutation is exact and a run continues anywhere.
Every image is compared with its digest whenever it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from omnirad.data.decoding import decode
from omnirad.data.manifest import parsed
from omnirad.data.sources import Array, Content, Sample
from omnirad.errors import DataError, IntegrityError, SetupError

FORMAT = "omnirad-packed-1"
META, INDEX_FILE, MANIFEST = "meta.json", "index.npy", "manifest.csv"
Encoding = Literal["png", "raw"]
INDEX = np.dtype(
    [
        ("shard", "<u4"),
        ("offset", "<u8"),  # bytes from the shard's start
        ("length", "<u4"),  # bytes
        ("height", "<u4"),
        ("width", "<u4"),
        ("label", "<i4"),  # index into the labels of meta.json, -1 for none
        ("line", "<u8"),  # bytes from the manifest's start
        ("sha1", "u1", (20,)),  # of the encoded bytes
    ]
)


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.bin"


@dataclass(frozen=True)
class PackedSource:
    """A folder that `pack` wrote (a `Source`); workers map the files themselves."""

    root: Path

    @property
    def name(self) -> str:
        """The name of what was packed."""
        return str(self._meta["source"])

    @property
    def manifest_digest(self) -> str:
        """SHA-256 (hex) of the manifest, checked when the source was opened."""
        return str(self._meta["files"][MANIFEST]["sha256"])

    def __len__(self) -> int:
        """Number of images N."""
        return len(self._index)

    def sample(self, index: int) -> Sample:
        """Return what is known of an image."""
        last = index + 1 == len(self)
        stop = len(self._manifest) if last else int(self._index[index + 1]["line"])
        return parsed(bytes(self._manifest[int(self._index[index]["line"]) : stop]))

    def image(self, index: int) -> Array:
        """Return an image, uint8 [H, W].

        Raises:
            IntegrityError: If its bytes are not those that were packed.
        """
        entry, data = self._record(index)
        if self._meta["encoding"] == "raw":
            shape = int(entry["height"]), int(entry["width"])
            return np.frombuffer(data, dtype=np.uint8).reshape(shape).copy()
        return decode(data, f"image {index} of {self.root}")

    def inspect(self, index: int) -> Content:
        """Compare the bytes of an image with their digest."""
        entry, _ = self._record(index)
        return Content(int(entry["height"]), int(entry["width"]), entry["sha1"].tobytes().hex())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind."""
        return {"root": self.root}

    @cached_property
    def _meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads((self.root / META).read_text(encoding="utf-8"))
        return meta

    @cached_property
    def _index(self) -> Array:
        array: Array = np.load(self.root / INDEX_FILE, mmap_mode="r", allow_pickle=False)
        return array

    @cached_property
    def _manifest(self) -> Array:
        return np.memmap(self.root / MANIFEST, dtype=np.uint8, mode="r")

    @cached_property
    def _shards(self) -> dict[int, Array]:
        return {}

    def _record(self, index: int) -> tuple[Array, bytes]:
        """Return index entry and encoded bytes of an image, compared with its digest."""
        entry = self._index[index]
        number, start = int(entry["shard"]), int(entry["offset"])
        if number not in self._shards:
            path = self.root / shard_name(number)
            self._shards[number] = np.memmap(path, dtype=np.uint8, mode="r")
        data = self._shards[number][start : start + int(entry["length"])].tobytes()
        if hashlib.sha1(data, usedforsecurity=False).digest() != entry["sha1"].tobytes():
            raise IntegrityError(
                f"image {index} of {self.root} is damaged ({shard_name(number)}, byte {start}): "
                "its SHA-1 is not the packed one; pack again"
            )
        return entry, data


def open_packed(root: Path) -> PackedSource:
    """Open packed shards, after checking sizes of all files and digests of index and manifest.

    Raises:
        SetupError: If there is no such folder.
        DataError: If it does not hold packed shards.
        IntegrityError: If a file is missing, truncated or changed.
    """
    if not root.is_dir():
        raise SetupError(f"there is no folder {root}; name one that pack has written")
    try:
        meta = json.loads((root / META).read_text(encoding="utf-8"))
        format_, files = meta["format"], dict(meta["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root} holds no packed shards: {META} is missing or no description of them "
            f"({type(error).__name__})"
        ) from None
    if format_ != FORMAT:
        raise DataError(f"{root} has the format {format_!r}, {FORMAT!r} was expected; pack again")
    for problem in _problems(root, files):
        raise IntegrityError(f"{problem}; pack again")
    return PackedSource(root)


def _problems(root: Path, files: dict[str, Any]) -> Iterator[str]:
    for name, facts in files.items():
        path = root / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            yield f"{path} is missing"
        elif size != facts["bytes"]:
            yield f"{path} has {size} bytes, {facts['bytes']} were packed"
        elif name in (INDEX_FILE, MANIFEST) and sha256(path) != facts["sha256"]:
            yield f"{path} is damaged: its SHA-256 is not the packed one"


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
