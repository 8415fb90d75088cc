"""Where published files lie, whether they are the published ones, and how to get them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.interfaces import Silent
from omnibench_plugins.datasets.digests import digests

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file as its publisher names and describes it."""

    collection: str  # folder below the data root
    filename: str
    url: str
    md5: str
    licence: str

    def path(self, root: Path) -> Path:
        """Return where the file lies below a data root."""
        return root / self.collection / self.filename


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file on this machine that was read once from end to end."""

    path: Path
    sha256: str
    verified: bool  # its MD5 is the published one


def places(files: Mapping[int, PublishedFile], root: Path) -> list[Path]:
    """Return where the files of all resolutions lie below a data root, there or not."""
    return [file.path(root) for file in files.values()]


def fetch(files: Mapping[int, PublishedFile], size: int, access: DataAccess) -> StoredFile:
    """Return the file of one resolution, downloading it where that is allowed.

    Args:
        files: Every published resolution (pixels) of the dataset.
        size: The resolution wanted.
        access: Data root, and whether network and unverified files are allowed.

    Raises:
        UsageError: If there is no such resolution.
        SetupError: If the file is missing and cannot be fetched.
        IntegrityError: If it is not the published file.
    """
    if size not in files:
        raise UsageError(
            f"there is no source size {size}; use --set source_size=N with N one of "
            f"{', '.join(map(str, files))}"
        )
    file = files[size]
    path = file.path(access.root)
    if not path.exists():
        _download(file, path, access, how_to_get(files, size, access.root))
    md5, sha256 = digests(path)
    if md5 != file.md5 and not access.allow_unverified:
        raise IntegrityError(
            f"{path} is not the published file: its MD5 is {md5}, the published one is "
            f"{file.md5}; remove it to download it again, or use it as it is with "
            "--allow-unverified-data, which marks every record"
        )
    return StoredFile(path=path, sha256=sha256, verified=md5 == file.md5)


def how_to_get(files: Mapping[int, PublishedFile], size: int, root: Path) -> str:
    """Return what a user can do about a missing file: other sizes, or a download by hand."""
    present = [other for other, file in files.items() if file.path(root).exists()]
    here = (
        f"sizes that are present: {', '.join(map(str, present))} (--set source_size="
        f"{present[-1]}); otherwise "
        if present
        else ""
    )
    file = files[size]
    return f"{here}download {file.url} and put it at {file.path(root)}"


def _download(file: PublishedFile, path: Path, access: DataAccess, advice: str) -> None:
    """Download to a partial file beside `path` and move it there once its MD5 is right."""
    from filelock import FileLock

    from omnibench_plugins.datasets.download import download

    if access.offline:
        raise SetupError(f"{path} is missing and --offline forbids to fetch it; {advice}")
    log.info("downloading %s, licence: %s", file.url, file.licence)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several runs may want the same file at once: one downloads, the others wait for it.
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                download(file.url, path, file.md5, access.progress or Silent(), advice)
    except OSError as error:
        reason = error.strerror or error
        raise SetupError(f"{path} could not be written: {reason}; {advice}") from None
