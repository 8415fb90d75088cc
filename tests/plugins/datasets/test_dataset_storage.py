"""Files: found, verified, downloaded, resumed, refused."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench_plugins.datasets.storage import PublishedFile, fetch

CONTENT = bytes(range(256)) * 12_000  # 3 MB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Server:
    """What the local server does, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    stop_after: int | None = None  # close the connection after so many bytes
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(state.content) > 0:
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # clients may hang up
                self.wfile.write(body[: state.stop_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/set_64.npz?download=1"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def published(url: str = "http://127.0.0.1:9/never", md5: str = MD5) -> dict[int, PublishedFile]:
    return {
        size: PublishedFile(
            collection="some", filename=f"set_{size}.npz", url=url, md5=md5, licence="CC BY 4.0"
        )
        for size in (28, 64)
    }


def place(root: Path, size: int = 64, content: bytes = CONTENT, suffix: str = "") -> Path:
    path = root / "some" / f"set_{size}.npz{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_published_file_is_verified(tmp_path: Path, no_network: None) -> None:
    path = place(tmp_path)
    stored = fetch(published(), 64, DataAccess(root=tmp_path))
    assert stored.path == path
    assert stored.verified
    assert stored.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_another_file_is_refused_naming_both_digests(tmp_path: Path, no_network: None) -> None:
    path = place(tmp_path, content=b"other")
    other = hashlib.md5(b"other", usedforsecurity=False).hexdigest()
    with pytest.raises(IntegrityError, match=rf"{other}.*{MD5}.*--allow-unverified-data"):
        fetch(published(), 64, DataAccess(root=tmp_path))
    assert path.read_bytes() == b"other"


def test_another_file_is_taken_unverified_where_that_is_allowed(tmp_path: Path) -> None:
    place(tmp_path, content=b"other")
    stored = fetch(published(), 64, DataAccess(root=tmp_path, allow_unverified=True))
    assert not stored.verified


def test_the_published_file_stays_verified_where_others_are_allowed(tmp_path: Path) -> None:
    place(tmp_path)
    assert fetch(published(), 64, DataAccess(root=tmp_path, allow_unverified=True)).verified


def test_offline_names_present_sizes_and_the_way_and_opens_no_socket(
    tmp_path: Path, no_network: None
) -> None:
    place(tmp_path, size=28)
    with pytest.raises(SetupError) as caught:
        fetch(published(), 64, DataAccess(root=tmp_path, offline=True))
    text = str(caught.value)
    assert "sizes that are present: 28 (--set source_size=28)" in text
    assert "http://127.0.0.1:9/never" in text
    assert str(tmp_path / "some" / "set_64.npz") in text


def test_an_unpublished_size_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no source size 99.*28, 64"):
        fetch(published(), 99, DataAccess(root=tmp_path))


def test_a_missing_file_is_downloaded_with_progress_and_licence(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    class Bar:
        total = done = 0

        def start(self, label: str, total: int) -> None:
            assert "set_64.npz" in label
            self.total = total

        def advance(self, steps: int = 1, note: str = "") -> None:
            self.done += steps

    bar = Bar()
    with caplog.at_level(logging.INFO):
        stored = fetch(published(server.url), 64, DataAccess(root=tmp_path, progress=bar))
    assert stored.verified
    assert stored.path.read_bytes() == CONTENT
    assert "CC BY 4.0" in caplog.text
    assert bar.done == bar.total == 3
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("kept", [1, 100_000, len(CONTENT) - 1])
def test_a_partial_download_is_continued(tmp_path: Path, server: Server, kept: int) -> None:
    place(tmp_path, content=CONTENT[:kept], suffix=".part")
    fetch(published(server.url), 64, DataAccess(root=tmp_path))
    assert server.asked == [f"bytes={kept}-"]
    assert (tmp_path / "some" / "set_64.npz").read_bytes() == CONTENT


def test_a_complete_partial_file_only_needs_its_name(tmp_path: Path, server: Server) -> None:
    place(tmp_path, suffix=".part")
    assert fetch(published(server.url), 64, DataAccess(root=tmp_path)).verified


def test_a_server_without_ranges_starts_over(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    place(tmp_path, content=b"x" * 1000, suffix=".part")
    assert fetch(published(server.url), 64, DataAccess(root=tmp_path)).verified


def test_the_beginning_of_another_file_is_thrown_away(tmp_path: Path, server: Server) -> None:
    place(tmp_path, content=b"x" * 1000, suffix=".part")
    assert fetch(published(server.url), 64, DataAccess(root=tmp_path)).verified
    assert server.asked == ["bytes=1000-", None]


def test_a_broken_connection_keeps_what_came_and_the_next_call_ends_it(
    tmp_path: Path, server: Server
) -> None:
    server.stop_after = 1_500_000
    with pytest.raises(SetupError, match="1500000 of 3072000 bytes"):
        fetch(published(server.url), 64, DataAccess(root=tmp_path))
    assert not (tmp_path / "some" / "set_64.npz").exists()
    server.stop_after = None
    assert fetch(published(server.url), 64, DataAccess(root=tmp_path)).verified
    assert server.asked == [None, "bytes=1500000-"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>please log in</html>", "a web page"),
        (CONTENT[:-1], "another file"),
        (b"", "an empty file"),
    ],
)
def test_a_wrong_download_is_removed_and_reported(
    tmp_path: Path, server: Server, content: bytes, kind: str
) -> None:
    server.content = content
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with pytest.raises(IntegrityError, match=rf"{kind} with MD5 {found}.*{MD5}"):
        fetch(published(server.url), 64, DataAccess(root=tmp_path, allow_unverified=True))
    assert not list(tmp_path.rglob("*.npz*part"))
    assert not (tmp_path / "some" / "set_64.npz").exists()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_answer_that_is_an_error_says_how_to_go_on(
    tmp_path: Path, server: Server, status: int
) -> None:
    server.status = status
    with pytest.raises(SetupError, match=rf"answered {status}.*put it at"):
        fetch(published(server.url), 64, DataAccess(root=tmp_path))


def test_no_server_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="could not be reached"):
        fetch(published(), 64, DataAccess(root=tmp_path))


def test_a_data_root_that_is_a_file_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(SetupError, match="could not be written"):
        fetch(published(), 64, DataAccess(root=tmp_path / "root"))


def test_a_full_disk_is_noticed_before_the_download(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnibench_plugins.datasets import download

    usage: Callable[[Path], object] = lambda path: type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(download.shutil, "disk_usage", usage)
    with pytest.raises(SetupError, match="1000 bytes left and the download needs 3072000"):
        fetch(published(server.url), 64, DataAccess(root=tmp_path))


def test_two_that_want_the_same_file_download_it_once(tmp_path: Path, server: Server) -> None:
    results: list[bool] = []

    def want() -> None:
        results.append(fetch(published(server.url), 64, DataAccess(root=tmp_path)).verified)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert len(server.asked) == 1
