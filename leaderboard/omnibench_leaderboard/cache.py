"""Answers kept from one build to the next, found by what they were computed from."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omnibench.recipe import digest


class Cache:
    """A folder of small files, each named by the digest of its question: a digest, then JSON.

    It lies outside results folders, so that nobody can submit answers with their records. An
    entry that cannot be read, or that is not as it was written, is computed again; a folder that
    cannot be written to costs time only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a question of strings and integers, or None."""
        with suppress(OSError, ValueError):
            stated, _, text = self._path(question).read_bytes().partition(b"\n")
            if stated == _digest(text):
                answer: dict[str, Any] = json.loads(text)
                return answer
        return None

    def put(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep an answer; a reader never sees half of one."""
        path, text = self._path(question), json.dumps(answer, sort_keys=True).encode()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(text) + b"\n" + text)
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)

    def _path(self, question: Mapping[str, Any]) -> Path:
        name = digest(question)
        return self.root / name[:2] / f"{name}.answer"


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


@functools.cache
def source_digest(*modules: str) -> str:
    """Return a digest of the source that an answer depends on.

    Args:
        modules: Names of modules; of a package all files count.
    """
    found = hashlib.sha256()
    for name in sorted(modules):
        # A plugin given as a file cannot be imported by name, but it has been loaded.
        module = sys.modules.get(name) or importlib.import_module(name)
        file = Path(str(module.__file__))
        package = file.name == "__init__.py"
        for path in sorted(file.parent.rglob("*.py")) if package else [file]:
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
