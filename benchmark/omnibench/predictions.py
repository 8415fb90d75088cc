"""Predictions on disk: arrays of one split and one case a row, in an npz that is read strictly."""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omnibench.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np

    from omnibench.records import Arrays

MAX_BYTES = 4 << 30  # of all arrays together, unpacked
MAX_HEADER = 10_000  # bytes before an array's values; numpy's own limit
DEFLATE = 1032  # bytes that a byte of this compression can become, at most
NAME = re.compile(r"[A-Za-z0-9][\w@.+-]{0,63}", re.ASCII)
SPLITS = ("test", "val")

# What reading a forged or damaged archive may raise.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
)


def pack(arrays: Arrays) -> bytes:
    """Return arrays as the bytes of a compressed npz; equal arrays give equal bytes.

    Raises:
        IntegrityError: If they could not be read again.
    """
    import numpy as np

    for name, array in arrays.items():
        if not NAME.fullmatch(name):
            raise IntegrityError(f"predictions cannot be called {name!r}; use {NAME.pattern}")
        if array.dtype.hasobject or array.dtype.names:
            raise IntegrityError(f"predictions {name!r} are an object array")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise IntegrityError(f"predictions {name!r} hold values that are not finite")
    total = sum(array.nbytes for array in arrays.values())
    if total > MAX_BYTES:
        raise IntegrityError(f"predictions take {total} bytes, at most {MAX_BYTES} are read")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(sorted(arrays.items())))
    return buffer.getvalue()


def describe(data: bytes, arrays: Arrays) -> dict[str, Any]:
    """Return what a record says about its predictions file."""
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "arrays": {n: [a.dtype.str, list(a.shape)] for n, a in sorted(arrays.items())},
    }


def unpack(data: bytes, described: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read predictions strictly: digest first, then names, sizes, dtypes and shapes.

    Nothing is allocated for an array before the file is known to be able to hold it.

    Args:
        data: The file's bytes.
        described: What the record says of them.
        where: How messages name the file.

    Raises:
        IntegrityError: If the file is not the one that the record describes.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != described.get("sha256"):
        raise IntegrityError(
            f"{where}: predictions have digest {found[:12]}…, the record states "
            f"{str(described.get('sha256'))[:12]}…"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_members(archive, described["arrays"], where)
            return {
                name: _array(archive, name, dtype, tuple(shape), where)
                for name, (dtype, shape) in described["arrays"].items()
            }
    except DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise IntegrityError(f"{where}: predictions cannot be read ({reason})") from None


def require_cases(predictions: Arrays) -> None:
    """Raise unless each split's arrays have one row for each of its ids.

    Args:
        predictions: Arrays; whatever is called `test_…` or `val_…` belongs to the split.

    Raises:
        IntegrityError: If ids are missing, repeated or out of order, rows do not match them,
            or groups are no numbers.
    """
    for split in SPLITS:
        mine = {n: array for n, array in predictions.items() if n.startswith(f"{split}_")}
        if not mine and split != "test":
            continue
        ids = mine.get(f"{split}_id")
        if ids is None:
            raise IntegrityError(f"predictions hold no {split}_id, so nobody knows of which cases")
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
            raise IntegrityError(
                f"{split}_id are {ids.dtype} {list(ids.shape)}; at least one integer was expected"
            )
        _require_ascending(ids, split)
        for name, array in mine.items():
            if array.shape[:1] != ids.shape:
                rows = len(array) if array.ndim else "no"
                raise IntegrityError(f"{name} has {rows} rows for the {len(ids)} ids of {split!r}")
        groups = mine.get(f"{split}_group")
        if groups is not None and (groups.ndim != 1 or groups.dtype.kind not in "iu"):
            raise IntegrityError(
                f"{split}_group are {groups.dtype} {list(groups.shape)}; one integer a case was "
                "expected"
            )


def _require_ascending(ids: np.ndarray[Any, Any], split: str) -> None:
    wrong = (ids[1:] <= ids[:-1]).nonzero()[0]
    if not len(wrong):
        return
    unique = len(set(ids.tolist()))
    if unique < len(ids):
        raise IntegrityError(f"{split}_id hold {len(ids)} ids of {unique} cases: some stand twice")
    first = int(wrong[0])
    raise IntegrityError(f"{split}_id are not ascending: {ids[first + 1]} follows {ids[first]}")


def _require_members(archive: zipfile.ZipFile, arrays: Mapping[str, Any], where: str) -> None:
    """Raise unless an archive has one member for each array, none larger than it can be."""
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    if names != sorted(f"{name}.npy" for name in arrays) or not all(map(NAME.fullmatch, arrays)):
        raise IntegrityError(f"{where}: predictions hold other arrays than the record states")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise IntegrityError(f"{where}: {member.filename} is compressed in a way of its own")
        if member.file_size > DEFLATE * (member.compress_size + 1):
            raise IntegrityError(
                f"{where}: {member.filename} claims {member.file_size} bytes, more than its "
                f"{member.compress_size} can hold"
            )
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise IntegrityError(f"{where}: predictions would unpack to {total} bytes")


def _array(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], where: str
) -> np.ndarray[Any, Any]:
    """Read one member whose header says what the record says."""
    import numpy as np

    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        major, _ = np.lib.format.read_magic(file)
        read_header = {
            1: np.lib.format.read_array_header_1_0,
            2: np.lib.format.read_array_header_2_0,
        }[major]
        found_shape, _, found = read_header(file, max_header_size=MAX_HEADER)
        begin = file.tell()
    if found.str != dtype or found_shape != shape or found.names:
        raise IntegrityError(f"{where}: predictions {name!r} have another type or shape")
    if begin + found.itemsize * math.prod(shape) != info.file_size:
        raise IntegrityError(f"{where}: predictions {name!r} are not as long as they claim")
    with archive.open(info) as file:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
        file.read()  # its end is where the checksum is compared
    return array
