"""What a user named: a record's file, the beginning of a run's id, or a results folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.predictions import unpack
from omnibench.records import RunRecord, parse
from omnibench.store import Store

PREFIX = re.compile(r"[0-9a-f]{4,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A record and where it lies."""

    record: RunRecord
    path: Path
    others: int = 0  # further records of the same run, passed over

    def predictions(self) -> dict[str, Any] | None:
        """Return its predictions, verified; None where it has none or they are not beside it.

        Raises:
            IntegrityError: If the file is not the one that the record describes.
            SetupError: If it cannot be read.
        """
        described = self.record.predictions or {}
        digest = str(described.get("sha256", ""))
        if not described:
            return None
        if not DIGEST.fullmatch(digest):
            raise IntegrityError(f"{self.path}: {digest!r} is no digest of predictions")
        file = self.path.with_name(f"{digest}.npz")
        try:
            return unpack(file.read_bytes(), described, str(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SetupError(f"{file} cannot be read: {error.strerror}") from None


def is_folder(name: str) -> bool:
    """Tell whether a results folder is meant."""
    return Path(name).is_dir()


def one(name: str, results: Path) -> Chosen:
    """Return the record that a path or the beginning of an id names.

    Args:
        name: As typed.
        results: Where ids are looked up.

    Raises:
        UsageError: If nothing or several runs are meant.
        IntegrityError: If the record is damaged.
        SetupError: If it cannot be read.
    """
    path = Path(name)
    if path.is_file():
        try:
            return Chosen(record=parse(path.read_bytes(), str(path)), path=path)
        except OSError as error:
            raise SetupError(f"{path} cannot be read: {error.strerror}") from None
    if PREFIX.fullmatch(name):
        return _by_id(name, results)
    raise UsageError(
        f"{name!r} is no file, no folder and no run id; give a record's file, at least 4 "
        "characters of a run id (the folder's name below results/runs), or two results folders"
    )


def _by_id(prefix: str, results: Path) -> Chosen:
    """Return the record whose digest begins so, or the earliest complete one of such a run."""
    store = Store(results)
    paths = [p for p in store.paths() if p.stem.startswith(prefix)]
    if len(paths) == 1:
        return Chosen(record=store.read(paths[0]), path=paths[0])
    runs = sorted({p.parent for p in store.paths() if p.parent.name.startswith(prefix)})
    if not runs and not paths:
        raise UsageError(f"no run below {results} begins with {prefix}; name others by --results")
    if len(runs) != 1:
        known = ", ".join(p.name[:12] for p in (runs or paths)[:5])
        raise UsageError(f"{prefix} is the beginning of {len(runs or paths)} ids: {known}")
    found = [Chosen(record=store.read(p), path=p) for p in sorted(runs[0].glob("*.json"))]
    first = min(found, key=_first)
    return Chosen(record=first.record, path=first.path, others=len(found) - 1)


def _first(chosen: Chosen) -> tuple[bool, str, Path]:
    """Order as tables do: complete ones first, then by time."""
    record = chosen.record
    return record.status != "complete", str(record.timing.get("ended", "")), chosen.path
