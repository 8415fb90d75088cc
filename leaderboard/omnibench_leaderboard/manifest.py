"""`MANIFEST.json`: what a published results folder held, so that later changes show.

It proves that nothing was edited, deleted or added since it was written; it does not prove who
wrote it. A signed tag or a signature of this one file does that.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from omnibench.errors import IntegrityError, SetupError
from omnibench.recipe import digest

MANIFEST = "MANIFEST.json"
SCHEMA = "omnibench.manifest/1"


def seal(folder: Path) -> Path:
    """Write the manifest of a results folder, in place of an older one.

    Raises:
        SetupError: If the folder cannot be written to.
    """
    path, temporary = folder / MANIFEST, folder / f".{os.getpid()}-{MANIFEST}"
    try:
        files = _digests(folder)
        body = {"schema": SCHEMA, "files": files, "root_sha256": digest(files)}
        temporary.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SetupError(f"{path} could not be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def changes(folder: Path) -> list[tuple[str, str]]:
    """Return what changed since the folder was sealed: paths and what happened to them.

    Raises:
        IntegrityError: If the manifest itself was changed.
    """
    path = folder / MANIFEST
    if not path.exists():
        return []
    stated = _read(path)
    found = _digests(folder)
    return [
        (name, _change(stated.get(name), found.get(name)))
        for name in sorted({*stated, *found})
        if stated.get(name) != found.get(name)
    ]


def _change(stated: str | None, found: str | None) -> str:
    if stated is None:
        return f"added after {MANIFEST} was written"
    return (
        f"{MANIFEST} lists it and it is not there"
        if found is None
        else f"not the file that {MANIFEST} lists"
    )


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        body: Any = json.loads(text)
        files = body["files"]
        whole = body["schema"] == SCHEMA and body["root_sha256"] == digest(files)
        sorted_ = list(files) == sorted(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = sorted_ = False
    if not whole or not sorted_:
        raise IntegrityError(
            f"{path}: the manifest was changed after it was written; write a new one with "
            "`omnibench verify --seal` once the records are known to be good"
        )
    return {str(name): str(value) for name, value in files.items()}


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every record and predictions file, by its path in the folder."""
    files = {}
    for path in sorted((folder / "runs").glob("??/*/*")):
        if path.suffix in (".json", ".npz"):
            with path.open("rb") as file:
                name = path.relative_to(folder).as_posix()
                files[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return files
