"""Images of MedMNIST and MedSegBench archives (`train_images`, `val_images`, `test_images`)."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from omnirad.data.decoding import grey_if_equal
from omnirad.data.sources import TRAIN, Array, Content, Sample
from omnirad.errors import DataError, SetupError

# What zipfile, zlib and numpy raise on damaged or forged archives.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, OSError, OverflowError,
    MemoryError, RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
HARMLESS = 2**30  # bytes; less may be packed as tightly as it likes
TIGHTEST = 100  # times that images shrink at most; zeros shrink a thousand times
LOCAL_HEADER = 30  # bytes before a member's name in a zip file


@dataclass(frozen=True)
class NpzSource:
    """The images of some splits of one archive (a `Source`).

    Members stored without compression stay on disk, mapped into memory; compressed ones are
    unpacked once. Workers open the archive themselves, it is not copied to them.
    """

    path: Path
    splits: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without suffix."""
        return self.path.stem

    def __len__(self) -> int:
        """Number of images N."""
        return int(self._ends[-1])

    def sample(self, index: int) -> Sample:
        """Return what is known of an image."""
        split, position = self._place(index)
        labels = self._labels[split]
        label = "" if labels is None else str(labels[position])
        return Sample(id=f"{split}/{position}", source=self.name, split=split, label=label)

    def image(self, index: int) -> Array:
        """Return an image: uint8 [H, W] or [H, W, 3]."""
        split, position = self._place(index)
        image = np.array(self._images[split][position])
        return grey_if_equal(image) if image.ndim == 3 else image

    def inspect(self, index: int) -> Content:
        """Digest the pixels of an image."""
        image = self.image(index)
        digest = hashlib.sha1(np.ascontiguousarray(image).tobytes(), usedforsecurity=False)
        return Content(image.shape[0], image.shape[1], digest.hexdigest())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the arrays behind."""
        return {"path": self.path, "splits": self.splits}

    @cached_property
    def _images(self) -> dict[str, Array]:
        with damage_reported(self.path):
            return {split: member(self.path, f"{split}_images") for split in self.splits}

    @cached_property
    def _labels(self) -> dict[str, Array | None]:
        """Labels [N] of each split; None where there are none, or several at once."""
        found: dict[str, Array | None] = {}
        with damage_reported(self.path), np.load(self.path, allow_pickle=False) as archive:
            for split in self.splits:
                labels = archive.get(f"{split}_labels", np.empty((0, 0)))
                found[split] = labels.reshape(-1) if labels.size == len(labels) > 0 else None
        return found

    @cached_property
    def _ends(self) -> Array:
        return np.cumsum([len(self._images[split]) for split in self.splits])

    def _place(self, index: int) -> tuple[str, int]:
        """Return split and position of an image."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.splits[which], index - (int(self._ends[which - 1]) if which else 0)


def open_npz(path: Path, splits: Sequence[str] = TRAIN) -> NpzSource:
    """Open an archive and check that it holds images in the splits asked for.

    Raises:
        SetupError: If there is no such file.
        DataError: If it is damaged, or holds something else.
    """
    if not path.is_file():
        raise SetupError(
            f"there is no file {path}; name an .npz archive of MedMNIST or MedSegBench"
        )
    with damage_reported(path), zipfile.ZipFile(path) as archive:
        held = [name.removesuffix(".npy") for name in archive.namelist()]
    if len(set(held)) != len(held):
        raise DataError(f"{path} holds {len(held)} members of {len(set(held))} names")
    missing = [f"{split}_images" for split in splits if f"{split}_images" not in held]
    if missing:
        raise DataError(
            f"{path} has no {' and no '.join(missing)}; it holds {', '.join(held) or 'nothing'}"
        )
    source = NpzSource(path, tuple(splits))
    for split, images in source._images.items():
        fits = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if images.dtype != np.uint8 or not fits or images.size == 0:
            raise DataError(
                f"{path}: {split}_images is {images.dtype} {list(images.shape)}; uint8 [N, H, W] "
                "or [N, H, W, 3] was expected"
            )
        labels = source._labels[split]
        if labels is not None and len(labels) != len(images):
            raise DataError(f"{path}: {len(labels)} labels for {len(images)} images in {split}")
    return source


def member(path: Path, name: str) -> Array:
    """Return one array of an archive, mapped into memory where it is not compressed."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.file_size > max(HARMLESS, TIGHTEST * info.compress_size):
            raise ValueError(f"{name} would unpack to {info.file_size} bytes")
        if info.compress_type != zipfile.ZIP_STORED:
            with np.load(path, allow_pickle=False) as arrays:
                unpacked: Array = arrays[name]
                return unpacked
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(stream)
            header = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    with path.open("rb") as raw:
        # The local header may be longer than the directory's copy of it says.
        raw.seek(info.header_offset + LOCAL_HEADER - 4)
        name_length, extra_length = np.frombuffer(raw.read(4), dtype="<u2")
    start = info.header_offset + LOCAL_HEADER + int(name_length) + int(extra_length) + header
    order: Literal["F", "C"] = "F" if fortran else "C"
    return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order=order)


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises into a `DataError`."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is damaged or no .npz archive ({type(error).__name__}: {error}); get it again"
        ) from None
