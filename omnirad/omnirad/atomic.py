"""Files that are either complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from omnirad.errors import SetupError


@contextmanager
def written(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield a stream whose content replaces `path` once it is closed without an error.

    Raises:
        SetupError: If the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    try:
        with disk_errors(path):
            with partial.open(mode, **text) as stream:  # type: ignore[call-overload]
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses into a `SetupError` that names the path."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} could not be written: {error.strerror or error}; free some space or name "
            "another folder"
        ) from None
