"""A disk that fails at a chosen call: failures are enumerated, not sampled (sqlite.org/testing).

    for disk in every_fault():
        with disk:
            ...                      # the operation; its N-th call to the disk fails
        if not disk.broke:           # the last round: there was no N-th call
            ...                      # it must have succeeded

Calls are counted where Python code makes them: functions of `os` (which `pathlib`, `shutil`,
`tempfile` and `filelock` call by their names) and `open`, whose files count every write and flush.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self
from unittest import mock

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)
OF_OS = (
    *("open", "write", "pwrite", "sendfile", "fsync", "link", "replace", "rename"),
    *("mkdir", "unlink", "remove", "rmdir", "truncate", "ftruncate", "utime"),
    *("pread", "preadv"),
)
READ = "open for reading"
TAKES_NO_ROOM = (READ, "pread", "preadv", "unlink", "remove", "rmdir", "utime")
OF_FILES = ("write", "writelines", "flush", "truncate")


class FaultyDisk:
    """While entered, counts calls to the disk and breaks one of them.

    Args:
        fail_at: Number of the call that fails, from 1; 0 breaks none and only counts.
        code: What it fails with, of `errno`.
        lasting: Whatever takes room fails from then on, as on a disk that is full.
    """

    def __init__(self, fail_at: int = 0, code: int = errno.EIO, *, lasting: bool = False) -> None:
        self.fail_at, self.code, self.lasting = fail_at, code, lasting
        self.calls: list[str] = []
        self._patches: list[Any] = []

    @property
    def broke(self) -> bool:
        """Whether the call was reached."""
        return 0 < self.fail_at <= len(self.calls)

    def __repr__(self) -> str:
        last = self.calls[self.fail_at - 1] if self.broke else "nothing"
        return f"{errno.errorcode[self.code]} at call {self.fail_at} ({last})"

    def count(self, name: str) -> None:
        """Note one call, and raise if it is the one to fail."""
        self.calls.append(name)
        due = len(self.calls) - self.fail_at
        full = self.lasting and due >= 0 and name not in TAKES_NO_ROOM
        if self.fail_at and (full if self.lasting else due == 0):
            raise OSError(self.code, os.strerror(self.code))

    def __enter__(self) -> Self:
        opened = self._opening(io.open)
        self._patches = [mock.patch(f"os.{name}", self._counting(name)) for name in OF_OS]
        self._patches += [mock.patch(name, opened) for name in ("io.open", "builtins.open")]
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for patch in reversed(self._patches):
            patch.stop()

    def _counting(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            reads = name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
            self.count(READ if reads else name)
            return real(*arguments, **options)

        return call

    def _opening(self, real: Any) -> Any:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not isinstance(file, int):  # a descriptor was opened, and counted, before
                self.count("open" if set(mode) & set("wxa+") else READ)
            opened = real(file, mode, *arguments, **options)
            return _File(opened, self) if set(mode) & set("wxa+") else opened

        return call


class _File:
    """A file opened for writing that counts."""

    def __init__(self, file: Any, disk: FaultyDisk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in OF_FILES:
            return found

        def call(*arguments: Any) -> Any:
            try:
                self._disk.count(name)
            except OSError:
                if name == "write":  # a disk that fills up takes a part
                    found(arguments[0][: len(arguments[0]) // 2])
                raise
            return found(*arguments)

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


def every_fault(errors: Sequence[int] = ERRORS) -> Iterator[FaultyDisk]:
    """Yield, for each error, a disk that breaks at its first call, its second, … up to none."""
    for code in errors:
        for number in itertools.count(1):
            disk = FaultyDisk(number, code)
            yield disk
            if not disk.broke:
                assert disk.calls, "nothing was done to the disk"
                break
