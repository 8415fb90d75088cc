"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omnibench.errors import SetupError

BLOCK = 1 << 20  # bytes read at once


def digests(path: Path) -> tuple[str, str]:
    """Return MD5 and SHA-256 (hex) of a file, read once.

    Raises:
        SetupError: If it is no file (reading a pipe would not end), or cannot be read.
    """
    if not path.is_file():
        raise SetupError(f"{path} is no file")
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                md5.update(block)
                sha256.update(block)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}") from None
    return md5.hexdigest(), sha256.hexdigest()
