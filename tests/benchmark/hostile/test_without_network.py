"""No network, or a strange one; a home that cannot be written (row 28 of the plan)."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
# Seconds. On an idle machine each takes 1 to 4; the client's own retries would take 24 and more,
# a connection that nobody answers minutes.
LIMIT = 12
RUN = ("run", "--task", "knn", "--dataset", "mni152-tissue", "--encoder")
WEIGHTS = "model.safetensors of timm/vit_small_patch14_dinov2.lvd142m is not on this machine"


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def environments(deaf: str) -> dict[str, dict[str, str]]:
    unwritable = {"HOME": "/proc/none", "HF_HOME": "", "XDG_CACHE_HOME": ""}
    return {
        "offline by the library's variable": {"HF_HUB_OFFLINE": "1"},
        "connection refused": {"HF_ENDPOINT": NOWHERE},
        "a host nobody knows": {"HF_ENDPOINT": "https://hub.invalid"},
        "a server that never answers": {"HF_ENDPOINT": deaf},
        "a proxy that is gone": {"HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE},
        "a proxy that never answers": {"HTTPS_PROXY": deaf},
        "a home that cannot be written": {**unwritable, "HF_ENDPOINT": NOWHERE},
    }


CASES = tuple(environments(""))


@pytest.mark.parametrize("name", CASES)
def test_missing_weights_are_named_soon(
    name: str, command: Command, deaf: str, tmp_path: Path
) -> None:
    changes = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    changes |= environments(deaf)[name]
    start = time.monotonic()
    done = command(*RUN, "dinov2-small", **{k: v for k, v in changes.items() if v})
    assert done.returncode == 5, done.stderr
    assert WEIGHTS in done.stderr and "Traceback" not in done.stderr
    assert "hf download timm/vit_small_patch14_dinov2.lvd142m model.safetensors" in done.stderr
    assert time.monotonic() - start < LIMIT


def test_a_hub_cache_that_is_a_file_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = command(*RUN, "dinov2-small", HF_HOME=str(tmp_path / "file"), HF_ENDPOINT=NOWHERE)
    assert done.returncode == 5 and "set HF_HOME to a folder" in done.stderr


def test_the_hub_is_asked_for_the_file_and_told_nothing_else(
    command: Command, tmp_path: Path
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['User-Agent']}")
            self.send_error(404)

        do_GET = do_HEAD = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    done = command(*RUN, "dinov2-small", HF_ENDPOINT=url, HF_HOME=str(tmp_path / "hf"))
    server.shutdown()
    thread.join()
    server.server_close()
    assert done.returncode == 5
    path = "/timm/vit_small_patch14_dinov2.lvd142m/resolve/main/model.safetensors"
    assert [line.split()[:2] for line in asked] == [["HEAD", path]]
    assert "torch" not in asked[0] and "agent/" not in asked[0]


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "a proxy that is gone"])
def test_missing_data_are_named_soon(command: Command, offline: bool, tmp_path: Path) -> None:
    start = time.monotonic()
    done = command(
        "run", "--task", "knn", "--dataset", "breastmnist", "--encoder", "vit-small",
        "--random-weights", *(["--offline"] if offline else []),
        HTTPS_PROXY=NOWHERE,
    )  # fmt: skip
    assert done.returncode == 5 and "Traceback" not in done.stderr
    path = tmp_path / "cache" / "omnibench" / "data" / "medmnist" / "breastmnist_224.npz"
    assert f"put it at {path}" in done.stderr and "https://zenodo.org/" in done.stderr
    assert time.monotonic() - start < LIMIT


def test_what_needs_no_network_works_in_a_home_that_cannot_be_written(
    toy_file: Path, command: Command
) -> None:
    done = command(
        "run", "--encoder", "toy-encoder", "--random-weights", "--task", "toy", "--dataset",
        "toy-labels", "--offline", "--plugin", str(toy_file),
        HOME="/proc/none", XDG_CACHE_HOME="/proc/none/cache", HTTPS_PROXY=NOWHERE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mean ± sd over 3 seeds" in done.stdout


def test_listing_needs_neither_home_nor_network(command: Command) -> None:
    done = command("list", HOME="/proc/none", XDG_CACHE_HOME="/proc/none", HTTPS_PROXY=NOWHERE)
    assert done.returncode == 0 and "dinov2-small" in done.stdout


def test_results_that_cannot_be_written_are_found_before_the_network_is_asked(
    command: Command, deaf: str
) -> None:
    done = command(
        *RUN, "dinov2-small", "--results", "/proc/none", HF_ENDPOINT=deaf, HF_HOME=os.devnull
    )
    assert done.returncode == 5 and "--results DIR" in done.stderr
