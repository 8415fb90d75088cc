"""Folders that runs write to: room, permission, hard links, locks. Nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from omnibench.doctor.findings import (
    GIB,
    Finding,
    Place,
    Verdict,
    passed,
    size_text,
    warned,
)

LEAST = GIB  # bytes; what the store of frozen outputs leaves free for records and others
PLENTY = 10 * GIB  # ours: frozen outputs of one large set take about so much


def findings(place: Place) -> Iterator[Finding]:
    """Yield what is found about results, cache and data root."""
    yield folder("results", place.results, "--results DIR", "FAIL")
    yield folder("cache", place.cache, "--cache DIR", "FAIL")
    # Data that are there can be read all the same.
    yield folder("data root", place.data_root, "--data-root DIR", "WARN")


def folder(topic: str, path: Path, option: str, unwritable: Verdict) -> Finding:
    """Return what is found about one folder, or where it would be made.

    Args:
        topic: What it is for.
        path: Where it lies.
        option: How another is chosen.
        unwritable: The verdict if nothing can be written there.
    """
    remedy = f"choose another folder with {option}"
    try:
        home = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        lacking = _lacking(home)
        free = shutil.disk_usage(home).free
    except OSError as error:
        told = f"{path} cannot be written to ({error.strerror or error})"
        return Finding(topic=topic, verdict=unwritable, told=told, remedy=remedy)
    made = "" if path.exists() else " (not there yet)"
    told = f"{path}{made}: {size_text(free)} free"
    if free < LEAST:
        return Finding(
            topic=topic, verdict=unwritable, told=told, remedy=f"free space, or {remedy}"
        )
    if lacking:
        return warned(topic, f"{told}, but no {' and no '.join(lacking)} there", remedy)
    if free < PLENTY:
        return warned(topic, told, f"free space, or {remedy}; --no-cache needs little")
    return passed(topic, f"{told}, writable, hard links and locks work")


def _lacking(home: Path) -> list[str]:
    """Write, link and lock in a folder of its own below `home`; return what did not work.

    Raises:
        OSError: If nothing can be written.
    """
    lacking = []
    with tempfile.TemporaryDirectory(dir=home, prefix=".omnibench-doctor-") as scratch:
        file = Path(scratch, "file")
        with file.open("wb") as stream:
            stream.write(b"x")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(file, Path(scratch, "link"))
        except OSError:
            lacking.append("hard links (records are then renamed into place)")
        try:
            with FileLock(Path(scratch, "lock"), timeout=1):
                pass
        except (OSError, NotImplementedError):  # filelock's Timeout is an OSError
            lacking.append("file locks (two downloads at once may collide)")
    return lacking
