"""Images that are files below a folder: PNG and JPEG, or DICOM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omnirad.data import decoding
from omnirad.data.sources import TRAIN, Array, Content, Sample
from omnirad.data.specs import SPLITS
from omnirad.errors import DataError, SetupError

HIDDEN = (".", "__MACOSX")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
DICOM_MARK = (128, b"DICM")  # offset and bytes that open every DICOM file (PS3.10, 7.1)


class Codec(Protocol):
    """How a file's bytes become an image; a module with these two functions will do."""

    def decode(self, data: bytes, name: str) -> Array:
        """Return uint8 [H, W] or [H, W, 3]."""

    def inspect(self, data: bytes, name: str) -> Content:
        """Check and digest."""


@dataclass(frozen=True)
class FileSource:
    """Files below `root`, at the paths that are the samples' ids (a `Source`)."""

    name: str
    root: Path
    samples: Sequence[Sample]
    codec: str = "png-jpeg"  # or "dicom"; a text, since modules cannot be pickled

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.samples)

    def sample(self, index: int) -> Sample:
        """Return what is known of an image."""
        return self.samples[index]

    def image(self, index: int) -> Array:
        """Return an image: uint8 [H, W] or [H, W, 3]."""
        return self._codec().decode(self._bytes(index), self.samples[index].id)

    def inspect(self, index: int) -> Content:
        """Check one file and digest its bytes."""
        return self._codec().inspect(self._bytes(index), self.samples[index].id)

    def _bytes(self, index: int) -> bytes:
        name = self.samples[index].id
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror or error}") from None

    def _codec(self) -> Codec:
        if self.codec == "png-jpeg":
            return decoding
        from omnirad.data import dicom

        return dicom


def open_folder(root: Path, splits: Sequence[str] = TRAIN) -> FileSource:
    """Return all PNG and JPEG images below a folder, in the order of their paths.

    A folder that has `train/` beside `val/` or `test/` is split, and only the splits asked for
    are read; any other folder is read whole.

    Raises:
        SetupError: If there is no such folder.
        DataError: If it holds no image.
    """
    return _open(root, splits, "png-jpeg", "PNG or JPEG image (.png .jpg .jpeg)")


def open_dicom(root: Path, splits: Sequence[str] = TRAIN) -> FileSource:
    """Return all DICOM files below a folder: by suffix, or by content where there is no suffix.

    Raises:
        SetupError: If there is no such folder, or pydicom is missing.
        DataError: If it holds no DICOM file.
    """
    from omnirad.data.dicom import require_pydicom

    require_pydicom()
    return _open(root, splits, "dicom", f"DICOM file ({' '.join(DICOM_SUFFIXES)}, or no suffix)")


def paths_below(root: Path) -> list[str]:
    """Return all files below `root`, relative to it, sorted; hidden ones are left out.

    Links to folders are followed, each folder once.
    """
    found: list[str] = []
    seen: set[Path] = set()
    for where, folders, files in os.walk(root, followlinks=True):
        place = Path(where)
        if place.resolve() in seen:
            folders.clear()
            continue
        seen.add(place.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        below = place.relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if not name.startswith(HIDDEN)]
    return sorted(found)


def _open(root: Path, splits: Sequence[str], codec: str, wanted: str) -> FileSource:
    if not root.is_dir():
        raise SetupError(f"there is no folder {root}; name an existing one")
    paths = [path for path in paths_below(root) if _is_wanted(root, path, codec)]
    if not paths:
        raise DataError(f"{root} holds no {wanted}, in no folder below it; name another folder")
    of_split = _split_folders(root)
    name = root.resolve().name or "data"
    samples = [
        Sample(id=path, source=name, split=of_split.get(path.split("/")[0], "train"))
        for path in paths
    ]
    if of_split:
        # What lies beside the split folders belongs to none of them.
        samples = [s for s in samples if s.id.split("/")[0] in of_split and s.split in splits]
        if not samples:
            raise DataError(
                f"{root} has the split folders {', '.join(sorted(of_split))}, and no image in "
                f"those of {', '.join(splits)}"
            )
    return FileSource(name, root, samples, codec)


def _is_wanted(root: Path, path: str, codec: str) -> bool:
    suffix = Path(path).suffix.lower()
    if codec == "png-jpeg":
        return suffix in decoding.SUFFIXES
    return suffix in DICOM_SUFFIXES or (not _is_suffix(suffix) and _has_mark(root / path))


def _is_suffix(text: str) -> bool:
    """Tell suffixes from the last number of a DICOM UID, which files are often named after."""
    return bool(text) and not text[1:].isdigit()


def _has_mark(path: Path) -> bool:
    offset, mark = DICOM_MARK
    try:
        with path.open("rb") as stream:
            return stream.read(offset + len(mark)).endswith(mark)
    except OSError:
        return False


def _split_folders(root: Path) -> dict[str, str]:
    """Return the split of each split folder; nothing unless there is a train and another one."""
    found = {
        name: split for split in SPLITS for name in SPLIT_FOLDERS[split] if (root / name).is_dir()
    }
    return found if "train" in found and len(found) > 1 else {}
