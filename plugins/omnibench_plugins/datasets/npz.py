"""Read `.npz` archives of strangers: looked through before a byte is unpacked, no pickles."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from omnibench.errors import IntegrityError

MEMBER = re.compile(r"[A-Za-z0-9_]+\.npy")
# What zipfile, zlib and numpy raise on damaged or forged archives.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class Header(NamedTuple):
    """What a member says about its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def headers(path: Path) -> dict[str, Header]:
    """Return the headers of all arrays, without reading an array.

    A header is believed only if the bytes it asks for are the bytes the member holds, so that
    nothing later allocates more than the archive declares.

    Raises:
        IntegrityError: If the file is no `.npz`, is truncated, or a member is not what it says.
    """
    with _damage_reported(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        found = dict(_header(archive, info, path) for info in members)
    if len(found) != len(members):
        raise IntegrityError(f"{path} holds {len(members)} members of {len(found)} names")
    return found


def read(path: Path, name: str) -> np.ndarray[Any, Any]:
    """Return one array of an archive that `headers` has accepted.

    Raises:
        IntegrityError: If its bytes are damaged.
    """
    with _damage_reported(path), np.load(path, allow_pickle=False) as archive:
        array: np.ndarray[Any, Any] = archive[name]
        return array


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> tuple[str, Header]:
    if not MEMBER.fullmatch(info.filename):
        raise IntegrityError(
            f"{path} holds a member {info.filename!r:.80}, plain array names were expected"
        )
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"{info.filename} has format version {version}")
        start = stream.tell()
    if dtype.hasobject:
        raise IntegrityError(f"{path}: {info.filename} holds Python objects, numbers were expected")
    asked, held = math.prod(shape) * dtype.itemsize, info.file_size - start
    if asked != held or min(shape, default=0) < 0:
        raise IntegrityError(
            f"{path}: the header of {info.filename} asks for {asked} bytes {shape}, "
            f"the member holds {held}"
        )
    return info.filename.removesuffix(".npy"), Header(shape, dtype)


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise IntegrityError(
            f"{path} is damaged or no .npz archive ({type(error).__name__}: {error}); "
            "remove it to download it again"
        ) from None
