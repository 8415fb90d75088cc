"""Servers that lie, break or wander (row 8 of the plan): nothing they send is ever used.

Each answer below is the raw bytes of one connection, so that headers can say anything.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, OmnibenchError, SetupError
from omnibench_plugins.datasets import download
from omnibench_plugins.datasets.storage import PublishedFile, fetch

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
SLEEP = b"<sleep>"  # in an answer: the server says nothing more for a while


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def sized(body: bytes, length: object = None, status: str = "200 OK") -> bytes:
    return answer(body, f"Content-Length: {len(body) if length is None else length}", status=status)


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    return answer(chunk + end, "Transfer-Encoding: chunked")


class Server:
    """Gives the next answer to each connection, the last one again and again."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/set_64.npz"
        self.answers: list[bytes] = []
        self.asked: list[str] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection:
                request = connection.recv(65536).decode("latin-1")
                if request.startswith("STOP"):
                    return
                self.asked.append(request)
                said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                whole, sleeps, _ = said.partition(SLEEP)
                connection.sendall(whole)
                if sleeps:
                    time.sleep(1.0)

    def stop(self) -> None:
        with socket.create_connection(self.socket.getsockname()) as last:
            last.sendall(b"STOP")
        self.thread.join()
        self.socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def want(root: Path, url: str) -> bool:
    file = PublishedFile(
        collection="some", filename="set_64.npz", url=url, md5=MD5, licence="CC BY 4.0"
    )
    return fetch({64: file}, 64, DataAccess(root=root, allow_unverified=True)).verified


# Name: answers of the server, error, words of its message ({url} and digests are filled in).
LIES: dict[str, tuple[list[bytes], type[OmnibenchError], str]] = {
    "truncated, honestly": (
        [sized(CONTENT[:-1])], IntegrityError, f"{md5(CONTENT[:-1])}, the published one is {MD5}",
    ),
    "a web page": (
        [sized(b"<!DOCTYPE html><p>log in")], IntegrityError, "gave a web page with MD5",
    ),
    "an empty body": ([sized(b"")], IntegrityError, "gave an empty file"),
    "no content": ([answer(b"", status="204 No Content")], IntegrityError, "gave an empty file"),
    "one bit flipped": (
        [sized(b"\x01" + CONTENT[1:])], IntegrityError, md5(b"\x01" + CONTENT[1:]),
    ),
    "longer than announced": (
        [sized(CONTENT + b"more", len(CONTENT) - 4)], IntegrityError, f"the published one is {MD5}",
    ),
    "longer than published": ([sized(CONTENT + b"more")], IntegrityError, md5(CONTENT + b"more")),
    "shorter than announced": (
        [sized(CONTENT, len(CONTENT) + 7)], SetupError, "ended after 102400 of 102407 bytes",
    ),
    "an exabyte announced": ([sized(CONTENT, 10**18)], SetupError, f"needs {10**18}"),
    "compressed unasked": (
        [answer(gzip.compress(CONTENT), "Content-Encoding: gzip")], IntegrityError, "another file",
    ),
    "a broken chunk": (
        [chunked(CONTENT)[:-300]], SetupError, "the connection broke",
    ),
    "a chunk size that is none": (
        [answer(b"zz\r\nabc", "Transfer-Encoding: chunked")], SetupError, "the connection broke",
    ),
    "not HTTP": ([b"220 ftp ready\r\n"], SetupError, "could not be reached"),
    "a closed connection": ([b""], SetupError, "could not be reached"),
    "silence": ([SLEEP], SetupError, "could not be reached: timed out"),
    "silence after the headers": (
        [sized(b"", len(CONTENT)) + SLEEP], SetupError, "the connection broke: timed out",
    ),
    "403": ([sized(b"no", status="403 Forbidden")], SetupError, "answered 403 Forbidden"),
    "404": ([sized(b"no", status="404 Not Found")], SetupError, "answered 404 Not Found"),
    "500": ([sized(b"no", status="500 Oops")], SetupError, "answered 500 Oops"),
    "416 to a whole request": (
        [sized(b"no", status="416 Range Not Satisfiable")], SetupError, "answered 416",
    ),
    "a redirect to a local file": (
        [answer(b"", "Location: file:///etc/passwd", status="302 Found")], SetupError,
        "answered 302",
    ),
    "a redirect in a circle": (
        [answer(b"", "Location: /set_64.npz", status="302 Found")], SetupError, "answered 302",
    ),
    "a redirect to nowhere": (
        [answer(b"", "Location: http://127.0.0.1:9/x", status="302 Found")], SetupError,
        "could not be reached",
    ),
    "a redirect that is no address": (
        [answer(b"", "Location: http://[", status="302 Found")], SetupError, "set_64.npz",
    ),
    "endless headers": (
        [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n"], SetupError, "could not be reached",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_no_lie_is_believed(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server.answers, error, words = LIES[name]
    with pytest.raises(error, match=re.escape(words)) as caught:
        want(tmp_path, server.url)
    assert type(caught.value) is error
    assert "put it at" in str(caught.value) or "--data-root" in str(caught.value)
    assert not (tmp_path / "some" / "set_64.npz").exists()
    if error is IntegrityError:
        assert not list(tmp_path.rglob("*.part")), "what was wrong is not kept to be continued"


@pytest.mark.parametrize(
    "first",
    [
        sized(CONTENT, len(CONTENT) + 7),
        chunked(CONTENT)[:-300],
        sized(CONTENT[:50_000], len(CONTENT)),
        sized(CONTENT, 10**18),
        sized(b"no", status="500 Oops"),
    ],
    ids=["short", "broken chunk", "cut", "exabyte", "500"],
)
def test_the_next_call_ends_with_the_published_file(
    tmp_path: Path, server: Server, first: bytes
) -> None:
    server.answers = [first, sized(CONTENT)]  # a server that knows no ranges
    with pytest.raises(SetupError):
        want(tmp_path, server.url)
    assert want(tmp_path, server.url)
    assert (tmp_path / "some" / "set_64.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["many", "-5", "1e5", "", "0x19000"])
def test_a_length_that_is_no_number_is_no_length(
    tmp_path: Path, server: Server, length: str
) -> None:
    server.answers = [sized(CONTENT, length)]
    assert want(tmp_path, server.url), "the digest decides"


def test_a_file_in_chunks_without_a_length_is_fine(tmp_path: Path, server: Server) -> None:
    server.answers = [chunked(CONTENT)]
    assert want(tmp_path, server.url)


def test_a_redirect_is_followed_and_the_digest_decides(tmp_path: Path, server: Server) -> None:
    moved = answer(b"", "Location: /elsewhere", status="302 Found")
    server.answers = [moved, sized(CONTENT)]
    assert want(tmp_path, server.url)
    assert server.asked[1].startswith("GET /elsewhere ")


@pytest.mark.parametrize(
    ("kept", "again"),
    [
        (b"x" * 1000, sized(CONTENT[1000:], status="206 Partial Content")),
        (CONTENT[:1000], sized(CONTENT, status="206 Partial Content")),
        (CONTENT[:1000], sized(CONTENT[500:], status="206 Partial Content")),
        (CONTENT + b"surplus", sized(b"", status="416 Range Not Satisfiable")),
        (CONTENT[:1000], sized(CONTENT)),
    ],
    ids=["another version", "all as a part", "another part", "longer than all", "no ranges"],
)
def test_a_wrong_continuation_is_thrown_away_and_begun_anew(
    tmp_path: Path, server: Server, kept: bytes, again: bytes
) -> None:
    part = tmp_path / "some" / "set_64.npz.part"
    part.parent.mkdir()
    part.write_bytes(kept)
    server.answers = [again, sized(CONTENT)]
    assert want(tmp_path, server.url)
    assert f"Range: bytes={len(kept)}-" in server.asked[0]
    assert (tmp_path / "some" / "set_64.npz").read_bytes() == CONTENT


def test_a_continuation_from_another_version_twice_is_refused(
    tmp_path: Path, server: Server
) -> None:
    part = tmp_path / "some" / "set_64.npz.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    other = b"y" * 5000
    server.answers = [sized(other[1000:], status="206 Partial Content"), sized(other)]
    with pytest.raises(IntegrityError, match=rf"{md5(other)}, the published one is {MD5}"):
        want(tmp_path, server.url)
    assert not part.exists()
