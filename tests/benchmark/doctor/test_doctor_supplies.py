"""Datasets, weights, licences, token and hub: what is there, and where the rest comes from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doctor_findings import about, build
from huggingface_hub import constants as hub_constants

from omnibench import hookimpl, weights
from omnibench.cards import DatasetSpec, EncoderSpec, HubFile
from omnibench.doctor import supplies
from omnibench.doctor.findings import Place
from omnibench.registry import Registry

GATED = EncoderSpec(
    name="acme-vit",
    build=build,
    gated=True,
    licence="acme",
    licence_url="https://acme.example/licence",
    source=HubFile(repo="acme/vit"),
)


def offering(**hooks: Any) -> Registry:
    offers = {name: hookimpl(function) for name, function in hooks.items()}
    return Registry.of(SimpleNamespace(__name__="made", **offers), distribution="acme")


def test_datasets_are_named_with_their_sizes_and_not_opened(place: Place) -> None:
    (none,) = about(supplies.findings(place), "datasets")
    assert none.verdict == "WARN" and "always there: mni152-tissue" in none.told
    for name in ("medmnist/breastmnist_224.npz", "medsegbench/busi_256.npz", "rocov2/x.csv"):
        path = place.data_root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no archive at all" * 100)
    (some,) = about(supplies.findings(place), "datasets")
    assert some.verdict == "PASS"
    for told in ("breastmnist_224.npz (1.7 kB)", "busi_256.npz (1.7 kB)", "rocov2 (folder)"):
        assert told in some.told


def test_a_card_that_cannot_say_where_its_files_lie_is_a_warning(place: Place) -> None:
    def files(root: Path) -> list[Path]:
        raise RuntimeError("no idea")

    card = DatasetSpec(name="lost", kind="labels", open=print, files=files)  # type: ignore[arg-type]
    lost = replace(place, registry=offering(omnibench_datasets=lambda: [card]))
    first, second = about(supplies.findings(lost), "datasets")
    assert "lost cannot be looked for: RuntimeError: no idea" in first.told
    assert first.verdict == second.verdict == "WARN"


def test_a_repository_of_no_possible_name_stops_nothing(place: Place) -> None:
    odd = replace(GATED, gated=False, source=HubFile(repo="-no/repository-"))
    found = replace(place, registry=offering(omnibench_encoders=lambda: [odd]))
    (told,) = about(supplies.findings(found), "weights")
    assert told.told.startswith("0 of 1 encoders")


def test_a_gated_encoder_says_where_its_licence_is_accepted(place: Place, tmp_path: Path) -> None:
    gated = replace(place, registry=offering(omnibench_encoders=lambda: [GATED]))
    (licence,) = about(supplies.findings(gated), "licence")
    (token,) = about(supplies.findings(gated), "token")
    assert licence.verdict == token.verdict == "WARN"
    assert "accept it at https://acme.example/licence" in licence.remedy
    assert token.remedy == "hf auth login"
    snapshot = tmp_path / "hub" / "models--acme--vit" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"x")
    refs = tmp_path / "hub" / "models--acme--vit" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    (licence,) = about(supplies.findings(gated), "licence")
    assert licence.verdict == "PASS"


def test_a_damaged_lock_of_weights_fails_and_is_named(place: Place) -> None:
    place.cache.mkdir()
    (place.cache / weights.LOCK_NAME).write_text("{")
    (found,) = about(supplies.findings(place), "weights")
    assert found.verdict == "FAIL" and weights.LOCK_NAME in found.remedy


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers every HEAD with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "verdict"), [(200, "PASS"), (401, "PASS"), (503, "WARN")])
def test_the_hub_is_asked_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, status: int, verdict: str
) -> None:
    with answering(status) as url:
        monkeypatch.setattr(hub_constants, "ENDPOINT", url)
        found = supplies.HubProbe(replace(place, offline=False)).finding()
    assert found.verdict == verdict and "127.0.0.1" in found.told


def test_a_hub_that_never_answers_costs_seconds_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(hub_constants, "ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setattr(supplies, "TIMEOUT", 0.3)
        start = time.monotonic()
        found = supplies.HubProbe(replace(place, offline=False)).finding()
    assert found.verdict == "WARN" and "--offline" in found.remedy
    assert time.monotonic() - start < supplies.PATIENCE


def test_offline_asks_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = supplies.HubProbe(place).finding()
    assert (found.verdict, found.told) == ("PASS", "not asked: --offline")
