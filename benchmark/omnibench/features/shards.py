"""Files of equally long rows that are whole or do not exist, and say when they are damaged.

    rows, one after another | description (JSON) | its length, 8 bytes | SHA-256 of all before

Rows begin at the first byte, so that one is read by its number alone. Nothing here knows what the
bytes mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from omnibench.errors import IntegrityError, SetupError

_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = hashlib.sha256().digest_size
_TAIL = _LENGTH.size + _DIGEST_BYTES
_BLOCK = 2**22  # bytes hashed at a time
DRAFT = ".part"  # suffix of files that nobody reads yet


class Draft:
    """A shard being written beside its place; gone when the block ends, unless published.

    Args:
        path: The name it will get.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.parent / f"{os.getpid()}-{uuid.uuid4().hex}{DRAFT}"
        self._file = self._draft.open("xb", buffering=0)
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def add(self, data: memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: If there is no room for them.
        """
        self._digest.update(data)
        while len(data):
            data = data[self._file.write(data) :]

    def publish(self, description: Mapping[str, Any]) -> None:
        """Describe the rows and give the file its name, if nobody else has.

        Raises:
            OSError: If the file cannot be completed or named.
        """
        text = json.dumps(description, sort_keys=True).encode()
        self.add(memoryview(text + _LENGTH.pack(len(text))))
        self.add(memoryview(self._digest.digest()))
        os.fsync(self._file.fileno())
        try:
            os.link(self._draft, self.path)
        except FileExistsError:
            return  # who came first wrote the same rows
        except OSError:
            self._draft.rename(self.path)  # a file system without links


class Shard:
    """An open shard whose digest was checked; stays readable if its name is removed.

    Args:
        path: A published shard.

    Raises:
        FileNotFoundError: If there is none.
        IntegrityError: If its bytes are not those that were written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.description = _checked(self._file.fileno(), path)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, row: int, row_bytes: int, into: Sequence[Any]) -> None:
        """Read one row into buffers that take its parts in order.

        Raises:
            IntegrityError: If the file has become shorter.
            SetupError: If the disk cannot read it.
        """
        try:
            found = os.preadv(self._file.fileno(), into, row * row_bytes)
        except OSError as error:
            raise SetupError(f"{self._file.name} cannot be read: {error.strerror}") from None
        if found != row_bytes:
            raise IntegrityError(f"{self._file.name} became shorter while it was read; run again")


def _checked(descriptor: int, path: Path) -> dict[str, Any]:
    """Return the description of a shard after comparing its digest."""
    size = os.fstat(descriptor).st_size
    digest, block, done = hashlib.sha256(), memoryview(bytearray(_BLOCK)), 0
    while done < size - _DIGEST_BYTES:
        found = os.preadv(descriptor, [block[: min(_BLOCK, size - _DIGEST_BYTES - done)]], done)
        if not found:
            break
        digest.update(block[:found])
        done += found
    tail = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    if size < _TAIL or tail[_LENGTH.size :] != digest.digest():
        raise IntegrityError(f"{path} is damaged: its bytes do not have the digest at its end")
    (length,) = _LENGTH.unpack_from(tail)
    description: dict[str, Any] = json.loads(os.pread(descriptor, length, size - _TAIL - length))
    return description
