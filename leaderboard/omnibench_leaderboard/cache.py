"""Answers kept from one build to the next, found by what they were computed from."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omnibench.recipe import digest


class Cache:
    """A folder of small JSON files, each named by the digest of its question.

    It lies outside results folders, so that nobody can submit answers with their records. An
    entry that cannot be read is computed again; a folder that cannot be written to costs time
    only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a question of strings and integers, or None."""
        with suppress(OSError, ValueError):
            answer = json.loads(self._path(question).read_bytes())
            if isinstance(answer, dict):
                return answer
        return None

    def put(self, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep an answer; a reader never sees half of one."""
        path = self._path(question)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(answer, file, sort_keys=True)
            Path(temporary).replace(path)

    def _path(self, question: Mapping[str, Any]) -> Path:
        name = digest(question)
        return self.root / name[:2] / f"{name}.json"
