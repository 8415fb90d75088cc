"""Download over HTTP: resumed where it stopped, checked before it counts."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import Progress
from omnibench_plugins.datasets.digests import BLOCK, digests

TIMEOUT = 30.0  # seconds without a byte
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206


def download(url: str, path: Path, md5: str, progress: Progress, advice: str) -> None:
    """Download `url` to `path` by way of `<path>.part`, which a later call continues.

    Args:
        url: What to fetch.
        path: Where it shall lie; its folder exists.
        md5: Published digest (hex); anything else is removed and reported.
        progress: Told about each block of 1 MiB.
        advice: What to do when the network fails.

    Raises:
        SetupError: No network, no space, or the connection ended early.
        IntegrityError: What came is not what was published.
    """
    part = path.with_name(path.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _continue(url, part, progress, advice)
    if resumed and digests(part)[0] != md5:
        # The beginning may come from another version of the file.
        part.unlink()
        _continue(url, part, progress, advice)
    found = digests(part)[0]
    if found != md5:
        kind = _looks_like(part)
        part.unlink()
        raise IntegrityError(
            f"{url} gave {kind} with MD5 {found}, the published one is {md5}; it was removed; "
            f"{advice}"
        )
    part.replace(path)


def _continue(url: str, part: Path, progress: Progress, advice: str) -> None:
    """Append to `part` what it lacks; start over where the server knows no ranges."""
    start = part.stat().st_size if part.exists() else 0
    with _open(url, start, advice) as response:
        if response is None:
            return
        append = response.status == PARTIAL_CONTENT
        start = start if append else 0
        rest = _content_length(response)
        _require_space(part, rest)
        progress.start(f"downloading {part.stem} (MiB)", -(-rest // BLOCK))
        with part.open("ab" if append else "wb") as stream:
            while block := _read(response, advice):
                stream.write(block)
                progress.advance()
            received = stream.tell() - start
    if received < rest:
        raise SetupError(
            f"{url} ended after {start + received} of {start + rest} bytes; the same command "
            f"goes on from there; or {advice}"
        )


@contextmanager
def _open(url: str, start: int, advice: str) -> Iterator[HTTPResponse | None]:
    """Open `url` from byte `start`; None if there is nothing after it."""
    headers = {"User-Agent": "omnibench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if start and error.code == RANGE_NOT_SATISFIABLE:
            yield None
            return
        raise SetupError(f"{url} answered {error.code} {error.reason}; {advice}") from None
    # URLError is an OSError; a redirect to what is no address raises ValueError.
    except (OSError, HTTPException, ValueError) as error:
        raise SetupError(f"{url} could not be reached: {error}; {advice}") from None
    with response:
        yield response


def _read(response: HTTPResponse, advice: str) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise SetupError(
            f"the connection broke: {error}; the same command goes on from there; or {advice}"
        ) from None


def _content_length(response: HTTPResponse) -> int:
    """Return the announced number of bytes to come, 0 if unannounced or no number."""
    return response.length or 0


def _require_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise SetupError(
            f"{part.parent} has {free} bytes left and the download needs {needed}; make space "
            "or choose another --data-root"
        )


def _looks_like(part: Path) -> str:
    """Name what a wrong download is, from its first bytes."""
    with part.open("rb") as stream:
        head = stream.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    return "another file" if head else "an empty file"
