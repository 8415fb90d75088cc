"""The state of seeds that are not finished, so that a killed command loses little.

    <results>/unfinished/<run_id>.pt    torch's zip archive | SHA-256 of all before, 32 bytes

`run_id` is that of the seed's first variant. A file is written beside its place, flushed to the
disk and renamed, and removed once the seed's last record is on disk. Nothing depends on it: what
is damaged, or was left by other code or software, is said and discarded, and the seed begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import torch

log = logging.getLogger(__name__)

FORMAT = 2
PATIENCE = 100  # times what a write takes that must have passed since the last one: at most 1 %
# What the first write is supposed to take, before one was measured: a slow disk's.
FIRST_SECONDS = 0.05
FIRST_BYTES_PER_SECOND = 2e8

_DIGEST_BYTES = hashlib.sha256().digest_size
_BLOCK = 2**22  # bytes hashed at a time


class UnfinishedSeed:
    """The state of one seed of one cell.

    Args:
        results: The results folder.
        run_id: Of the seed's first variant.
        title: The seed in words, for the log.
        made_by: Code, software and machine: everything that can change a bit, as JSON.
    """

    def __init__(
        self, results: Path, run_id: str, title: str, made_by: Mapping[str, Any] | None = None
    ) -> None:
        self.path = results / "unfinished" / f"{run_id}.pt"
        self.title = title
        self.made_by = {"format": FORMAT, **(made_by or {})}
        self.started = _now()
        self.spent = 0.0  # seconds of earlier processes that led here
        self.resumed: list[dict[str, Any]] = []  # where they were gone on with, and when
        self._began = self._wrote = time.perf_counter()
        self._cost: float | None = None  # seconds of the last write
        self._refused = False
        self._trainings = 0  # of this seed that asked for their state; most tasks have one

    def load(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the next epoch and what was saved before it, or None to begin anew.

        Asked once by each training of a seed: what another of them left is not this one's.
        """
        self._trainings += 1
        try:
            self._sweep()
            content = _read(self.path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._begin_anew(f"cannot be read ({error})")
            return None
        changed = _differences(content["made_by"], self.made_by)
        if changed:
            self._begin_anew(f"was left by another {', '.join(changed)}")
            return None
        if content["training"] != self._trainings:
            return None
        epoch = int(content["epoch"])
        self.started, self.spent = content["started"], content["seconds"]
        self.resumed = [*content["resumed"], {"epoch": epoch, "at": _now()}]
        log.info("%s goes on after epoch %d of an earlier run", self.title, epoch)
        return epoch, content["state"]

    def save(self, epoch: int, state: Mapping[str, Any], *, at_once: bool = False) -> None:
        """Write the state if that costs little by now, or `at_once`; a full disk is said once."""
        now = time.perf_counter()
        needed = _size(state)
        expected = self._cost or FIRST_SECONDS + needed / FIRST_BYTES_PER_SECOND
        if self._refused or not (at_once or now - self._wrote >= PATIENCE * expected):
            return
        content = {
            "made_by": self.made_by,
            "epoch": epoch,
            "training": max(1, self._trainings),
            "started": self.started,
            "seconds": self.spent + now - self._began,
            "resumed": self.resumed,
            "state": dict(state),
        }
        try:
            self._write(content, needed)
        except OSError as error:
            self._refused = True
            log.warning(
                "the state of %s cannot be kept in %s (%s): it goes on, but killed it would begin "
                "anew",
                self.title,
                self.path.parent,
                error.strerror or error,
            )
        self._wrote = time.perf_counter()
        self._cost = self._wrote - now

    def discard(self) -> None:
        """Remove what was kept."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _begin_anew(self, reason: str) -> None:
        log.warning("the kept state of %s %s; it begins anew", self.title, reason)
        self.discard()

    def _write(self, content: Mapping[str, Any], needed: int) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # Records come first: they need room too.
        if needed > shutil.disk_usage(folder).free / 2:
            raise OSError(f"{needed} bytes would take more than half of what is free")
        draft = folder / f".{os.getpid()}-{self.path.stem}"
        try:
            with draft.open("wb") as file:
                hashing = _Hashing(file)
                hashing.archive(content)
                file.write(hashing.digest())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed writers of this seed left; who runs it holds its claim."""
        for draft in self.path.parent.glob(f".*-{self.path.stem}"):
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


class _Hashing:
    """A file for `torch.save` that hashes what passes, and remembers the disk's own error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._error: OSError | None = None

    def archive(self, content: Mapping[str, Any]) -> None:
        """Write an archive, storage by storage, so that memory does not grow with it.

        Raises:
            OSError: If the disk refuses; torch alone would raise something that hides why.
        """
        try:
            torch.save(content, self)  # type: ignore[arg-type]
        except RuntimeError:
            raise self._error or OSError("torch could not write it") from None

    def write(self, data: bytes) -> int:
        """Write, hash and count."""
        self._sha256.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = error
            raise

    def flush(self) -> None:
        """Hand over to the system."""
        self._file.flush()

    def digest(self) -> bytes:
        """SHA-256 of what was written."""
        return self._sha256.digest()


def _read(path: Path) -> dict[str, Any]:
    """Return a state on the CPU; no code in it is run.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not what was written.
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
        sha256 = hashlib.sha256()
        for block in _blocks(file, left):
            sha256.update(block)
        if left <= 0 or file.read() != sha256.digest():
            raise ValueError("it is damaged")
        file.seek(0)
        try:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whole, but of a torch that writes what this one cannot read
            raise ValueError(f"torch cannot read it: {type(error).__name__}") from error
    return content


def _blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield the next `count` bytes of a file, or as many as there are."""
    while count > 0 and (block := file.read(min(_BLOCK, count))):
        count -= len(block)
        yield block


def _size(state: Any) -> int:
    """Return the bytes of all tensors in nested containers."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_size, state.values()))
    return sum(map(_size, state)) if isinstance(state, list | tuple) else 0


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names under which two descriptions differ."""
    return [n for n in sorted({*then, *now}) if then.get(n) != now.get(n)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
