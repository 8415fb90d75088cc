"""The folder of frozen outputs: found by what they were made of, bounded, never trusted unread.

    <cache>/features/ab/<key>/00000000.rows, 00000256.rows, …

The key is the digest of everything that can change a bit. A shard begins at the row its name says;
a killed writer loses one. Importing this imports neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnibench.errors import IntegrityError
from omnibench.features.shards import DRAFT, Draft, Shard

log = logging.getLogger(__name__)

RESERVE = 2**30  # bytes of the disk that are left free for records and others
GIGABYTE = 1e9
WORTH_SAYING = 10**8  # bytes; smaller needs are nobody's concern

# Writes rows [start, stop) to a draft and returns what the shard should say of them.
Produce = Callable[[Draft, int, int], Mapping[str, Any]]


@dataclass(frozen=True)
class FeatureStore:
    """Frozen outputs below one folder.

    Args:
        root: The folder; made when something is stored.
        limit: Bytes that it may hold; the entries unused for longest make room.
    """

    root: Path
    limit: int

    def find(self, identity: Mapping[str, Any], count: int) -> list[Shard] | None:
        """Return checked shards that hold `count` rows together, or None if some are missing."""
        entry = self._entry(identity)
        shards = list(entry.opened())
        if entry.rows(shards) < count or not shards:
            return None
        entry.touch()
        return shards

    def obtain(
        self,
        identity: Mapping[str, Any],
        count: int,
        *,
        row_bytes: int,
        shard_rows: int,
        produce: Produce,
        what: str,
    ) -> list[Shard] | None:
        """Return shards that hold `count` rows, computing what is missing.

        Args:
            identity: Everything that the rows depend on, as JSON.
            count: Number of rows.
            row_bytes: Length of one.
            shard_rows: How many a shard holds; a killed writer loses at most so many.
            produce: Computes rows.
            what: The rows in words, for the log.

        Returns:
            Checked shards, or None if there is no room or the folder cannot be written.
        """
        entry = self._entry(identity)
        shards = list(entry.opened())
        missing = count - entry.rows(shards)
        try:
            if missing and not self._has_room(entry, missing * row_bytes, what):
                return None
            with entry.locked() if missing else contextlib.nullcontext():
                while (done := entry.rows(shards)) < count or not shards:
                    # what another process wrote meanwhile is taken as it is
                    stop = min(done + shard_rows, count)
                    shards.append(entry.open(done) or entry.write(done, stop, produce))
                entry.touch()
        except OSError as error:
            log.warning(
                "%s cannot be kept in %s (%s): they are computed again where needed",
                what,
                self.root,
                error.strerror or error,
            )
            return None
        return shards

    def discard(self, identity: Mapping[str, Any]) -> None:
        """Remove an entry; who is reading it can go on."""
        shutil.rmtree(self._entry(identity).folder, ignore_errors=True)

    def _entry(self, identity: Mapping[str, Any]) -> _Entry:
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return _Entry(self.root / key[:2] / key, json.loads(json.dumps(identity)))

    def _has_room(self, entry: _Entry, needed: int, what: str) -> bool:
        """Say how much is needed and where, make room within the limit, and compare."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._evict(needed, entry)
        free = shutil.disk_usage(self.root).free - RESERVE
        log.log(
            logging.INFO if needed >= WORTH_SAYING else logging.DEBUG,
            "%s: %.3g GB will be kept in %s (%.3g GB are free for them, limit %.3g GB)",
            what,
            needed / GIGABYTE,
            self.root,
            max(0, free) / GIGABYTE,
            self.limit / GIGABYTE,
        )
        allowed = min(free, self.limit)
        if needed > allowed:
            log.warning(
                "%s are not kept: %.3g GB are needed and %.3g GB allowed (--cache-limit, --cache); "
                "they are computed again where needed",
                what,
                needed / GIGABYTE,
                max(0, allowed) / GIGABYTE,
            )
        return needed <= allowed

    def _evict(self, needed: int, spared: _Entry) -> None:
        """Remove the entries unused for longest until `needed` bytes fit below the limit."""
        if needed > self.limit:
            return
        entries = []
        for folder in self.root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                size = sum(file.stat().st_size for file in folder.iterdir())
                entries.append((folder.stat().st_mtime, size, folder))
        held = sum(size for _, size, _ in entries)
        for _, size, folder in sorted(entries):
            if held + needed <= self.limit:
                return
            if folder != spared.folder:
                shutil.rmtree(folder, ignore_errors=True)
                held -= size


@dataclass(frozen=True)
class _Entry:
    """The shards of one identity."""

    folder: Path
    identity: Any

    @staticmethod
    def rows(shards: list[Shard]) -> int:
        return sum(int(shard.description["rows"]) for shard in shards)

    def opened(self) -> Iterator[Shard]:
        """Yield shards from row 0 on, as far as they go without a gap."""
        done = 0
        while (shard := self.open(done)) is not None:
            yield shard
            done += int(shard.description["rows"])
            if not shard.description["rows"]:
                return

    def open(self, start: int) -> Shard | None:
        """Return the shard that begins at a row, or None; a damaged one is removed."""
        path = self._path(start)
        try:
            shard = Shard(path)
            if shard.description["identity"] != self.identity:
                raise IntegrityError(f"{path} holds something else than its name says")
        except OSError:
            return None
        except IntegrityError as error:
            log.warning("%s; it is computed again", error)
            with contextlib.suppress(OSError):  # where it has to stay, nothing is kept
                path.unlink(missing_ok=True)
            return None
        return shard

    def write(self, start: int, stop: int, produce: Produce) -> Shard:
        """Compute and publish rows [start, stop), and return them read back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with Draft(self._path(start)) as draft:
            told = produce(draft, start, stop)
            draft.publish({**told, "identity": self.identity, "rows": stop - start})
        shard = self.open(start)
        if shard is None:
            raise OSError(errno.EIO, "what was written cannot be read back")
        return shard

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process compute while others wait for what it writes."""
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("another process is computing the same; waiting for it")
                lock.acquire()
        except NotImplementedError:
            yield  # no locks here: two processes may compute the same, the first to end is read
            return
        try:
            for stray in self.folder.glob(f"*{DRAFT}"):  # of writers that were killed
                stray.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def touch(self) -> None:
        """Remember that the entry was used."""
        with contextlib.suppress(OSError):
            os.utime(self.folder)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:08d}.rows"
