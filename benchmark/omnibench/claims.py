"""Who is running what: two commands at one cell do different seeds, and wait for each other.

    <results>/claims/<run_id>.json    {title, host, pid, process, started, heartbeat}

Claims are advisory. They save computing; that a run has one record is the store's doing. A claim is
taken over at once if its process is gone from this host, and from anywhere else if its heartbeat
stood still for ten minutes of our own clock, which nobody can set. `run_id` is that of the seed's
first variant. Importing this imports neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)

BEAT_SECONDS = 30.0
STALE_SECONDS = 600.0
LOCK_SECONDS = 10.0  # a lock held longer is that of a process that was stopped

Claim = dict[str, Any]
State = Literal["running", "silent", "gone"]


class Claims:
    """The claims below one results folder, and those of this process among them.

    Args:
        results: The results folder.
    """

    def __init__(self, results: Path) -> None:
        self.folder = results / "claims"
        self._mine: dict[str, Claim] = {}
        self._seen: dict[str, tuple[Claim | None, float]] = {}  # others' claims and since when
        self._usable = True
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self, run_id: str, title: str) -> bool:
        """Claim a run unless somebody else is at it.

        Args:
            run_id: The run.
            title: The run in words, for those who wait.

        Returns:
            Whether this process should do it; so it should where claims cannot be kept.
        """
        if not self._usable:
            return True
        try:
            with self._locked():
                if self._is_held(run_id):
                    return False
                claim = {"title": title, **_process(), "started": _now(), "heartbeat": _now()}
                self._write(run_id, claim)
                self._mine[run_id] = claim
        except OSError as error:
            self._usable = False
            log.warning(
                "nobody can be told what is run here: %s cannot be used (%s); another command at "
                "the same cell would do the same seeds",
                self.folder,
                error.strerror or error,
            )
            return True
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
        return True

    def release(self, run_id: str) -> None:
        """Give a run back, unless somebody took it over meanwhile."""
        with contextlib.suppress(OSError), self._locked():
            claim = self._mine.pop(run_id, None)
            if claim is not None and self._read(run_id) == claim:
                self._path(run_id).unlink(missing_ok=True)

    def clear(self, run_id: str) -> None:
        """Remove the claim on a finished run of a process that was killed before it could."""
        if self._path(run_id).exists() and self.take(run_id, ""):
            self.release(run_id)

    def close(self) -> None:
        """Give back everything."""
        self._closed.set()
        for run_id in list(self._mine):
            self.release(run_id)

    def holder(self, run_id: str) -> str:
        """Return who holds a claim, in words."""
        claim = self._read(run_id) or {}
        return f"process {claim.get('pid')} on {claim.get('host')}, since {claim.get('started')}"

    def _is_held(self, run_id: str) -> bool:
        """Tell whether another process is at a run, judging by what was seen before."""
        claim = self._read(run_id)
        known, since = self._seen.get(run_id, (None, 0.0))
        if claim is None and not self._path(run_id).exists():
            return False
        if claim is not None and _is_dead(claim):
            log.info("%s was left by a process that is gone", claim.get("title"))
            return False
        now = time.monotonic()
        if run_id not in self._seen or claim != known:
            self._seen[run_id] = claim, now
            return True
        return now - since < STALE_SECONDS

    def _beat(self) -> None:
        """Show now and then that this process lives."""
        while not self._closed.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError), self._locked():
                for run_id, claim in list(self._mine.items()):
                    if self._read(run_id) == claim:
                        fresh = claim | {"heartbeat": _now()}
                        self._write(run_id, fresh)
                        self._mine[run_id] = fresh

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time read and write claims, where the file system has locks.

        Raises:
            OSError: If the folder cannot be used.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=LOCK_SECONDS)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(NotImplementedError, Timeout):
                stack.enter_context(lock)
            yield

    def _read(self, run_id: str) -> Claim | None:
        """Return a claim, or None where there is none that can be read."""
        try:
            claim = json.loads(self._path(run_id).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return claim if isinstance(claim, dict) else None

    def _write(self, run_id: str, claim: Claim) -> None:
        draft = self.folder / f".{os.getpid()}-{uuid.uuid4().hex}"
        try:
            draft.write_text(json.dumps(claim, indent=1))
            draft.replace(self._path(run_id))
        finally:
            draft.unlink(missing_ok=True)

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"


def standing(results: Path) -> Iterator[tuple[str, Claim, State]]:
    """Yield run id, claim and state of all claims below a results folder; nothing is changed.

    Whether a process on another host lives is judged by when its heartbeat was written.
    """
    claims = Claims(results)
    for path in sorted(claims.folder.glob("[0-9a-f]*.json")):
        claim = claims._read(path.stem)
        if claim is None:
            continue
        with contextlib.suppress(FileNotFoundError):  # given back meanwhile
            silent = time.time() - path.stat().st_mtime > STALE_SECONDS
            yield path.stem, claim, "gone" if _is_dead(claim) else "silent" if silent else "running"


def _process() -> Claim:
    """Return what names this process on every host, for ever."""
    pid = os.getpid()
    return {"host": _host(), "pid": pid, "process": _birth(pid)}


def _is_dead(claim: Claim) -> bool:
    """Tell whether a claim is of this host and its process is gone; its id may be another's now."""
    pid = claim.get("pid")
    if claim.get("host") != _host() or not isinstance(pid, int) or claim.get("process") is None:
        return False
    return bool(_birth(pid) != claim["process"])


def _host() -> str:
    """Return the host's name and, where there are such, the space its process ids belong to."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _birth(pid: int) -> str | None:
    """Return when a process began, in words that no other process of this id has; None if gone."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if state in "ZX" else f"{boot} {rest[18]}"  # field 22 of proc(5): starttime
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
