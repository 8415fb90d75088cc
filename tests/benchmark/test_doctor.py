"""`omnibench doctor`: every fault of a machine is found and says what mends it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
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
from huggingface_hub import constants as hub_constants

from omnibench import hookimpl, weights
from omnibench.cards import DatasetSpec, EncoderSpec, HubFile
from omnibench.doctor import findings, folders, machine, software, supplies
from omnibench.doctor.findings import GIB, Finding, Place
from omnibench.metrics import wordnet
from omnibench.registry import Registry


def build(**_: Any) -> Any:
    raise AssertionError("a doctor builds nothing")


GATED = EncoderSpec(
    name="acme-vit",
    build=build,
    gated=True,
    licence="acme",
    licence_url="https://acme.example/licence",
    source=HubFile(repo="acme/vit"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The built-in plugins, empty folders, no token, an empty hub cache, no network asked."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OMNIBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub_constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return Place(
        registry=Registry.discover(),
        data_root=tmp_path / "data",
        cache=tmp_path / "cache",
        results=tmp_path / "results",
        offline=True,
    )


def offering(**hooks: Any) -> Registry:
    offers = {name: hookimpl(function) for name, function in hooks.items()}
    return Registry.of(SimpleNamespace(__name__="made", **offers), distribution="acme")


def about(found: Iterator[Finding], topic: str) -> list[Finding]:
    return [finding for finding in found if finding.topic == topic]


PROGRAM = """
import sys
from omnibench.cli import main
sys.argv = ["omnibench", "doctor", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print("HEAVY", sorted({"torch", "numpy", "pandas", "nltk"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_the_command_tells_all_without_secrets_and_without_importing_torch(tmp_path: Path) -> None:
    secret = "hf_thisisnobodystokenatall"
    environment = os.environ | {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_CACHE_HOME": str(tmp_path / "xdg"),
        "HF_TOKEN": secret,
        "HTTPS_PROXY": f"http://user:{secret}@127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HEAVY []" in done.stderr, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert done.returncode == (5 if any(f["verdict"] == "FAIL" for f in told) else 0)
    topics = {finding["topic"] for finding in told}
    assert topics >= {
        "python", "packages", "torch", "device cpu", "memory", "results", "cache", "data root",
        "datasets", "weights", "licence", "token", "hub", "plugins", "WordNet", "extra cnn",
        "extra dicom", "extra parquet", "extra ray", "extra slurm",
    }  # fmt: skip
    assert all(bool(f["remedy"]) == (f["verdict"] != "PASS") for f in told)
    token = next(f for f in told if f["topic"] == "token")
    assert token["told"].endswith("from HF_TOKEN")
    assert secret not in done.stdout + done.stderr
    assert not (tmp_path / "results").exists(), "looking makes no folders"


def test_the_exit_code_is_that_of_the_gravest_failure() -> None:
    fine, odd = findings.passed("a", "b"), findings.warned("a", "b", "c")
    plugin = replace(findings.failed("a", "b", "c"), exit_code=3)
    assert findings.exit_code([fine, odd]) == 0
    assert findings.exit_code([fine, plugin]) == 3
    assert findings.exit_code([plugin, findings.failed("a", "b", "c")]) == 5


def test_a_torch_below_the_floor_fails_and_says_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.9.1" if name == "torch" else real(name)
    )
    (torch,) = about(software.findings(place), "torch")
    assert torch.verdict == "FAIL" and torch.exit_code == 5
    assert torch.told == (
        "torch is 2.9.1, >=2.10 is needed; older ones can run code from a checkpoint they read"
    )
    assert torch.remedy == "pip install 'torch>=2.10'"


def test_a_missing_extra_is_a_warning_with_its_install_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version

    def absent(name: str) -> str:
        if name == "pydicom":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    (dicom,) = about(software.findings(place), "extra dicom")
    assert (dicom.verdict, dicom.remedy) == ("WARN", "pip install 'omnibench[dicom]'")
    assert dicom.told == "pydicom is not installed: no DICOM images in folder: data"


def test_every_extra_for_users_has_a_purpose() -> None:
    extras = importlib.metadata.metadata("omnibench").get_all("Provides-Extra") or []
    assert set(software.PURPOSES) == set(extras) - {"dev"}


def test_an_old_python_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.10.4")
    (python,) = about(software.findings(place), "python")
    assert python.verdict == "FAIL" and "3.10.4, >=3.11 is needed" in python.told


def test_a_broken_plugin_fails_with_the_exit_code_of_plugins(place: Place) -> None:
    place.registry._add("tp-broken", "1", "broken", lambda: 1 / 0)
    (broken,) = about(software.findings(place), "plugin")
    assert (broken.verdict, broken.exit_code) == ("FAIL", 3)
    assert "tp-broken:broken was not loaded: ZeroDivisionError" in broken.told
    assert broken.remedy.startswith("pip install -U tp-broken")


def test_a_name_offered_twice_is_a_warning_that_names_both(place: Place) -> None:
    card = EncoderSpec(name="vit-small", build=build)
    other = SimpleNamespace(omnibench_encoders=hookimpl(lambda: [card]))
    place.registry._add("acme", "1", "vits", lambda: other)
    (twice,) = about(software.findings(place), "plugin")
    assert twice.verdict == "WARN"
    assert "'vit-small' is offered by omnibench and by acme" in twice.told


def test_a_torch_that_cannot_be_imported_fails_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.99: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (torch,) = machine.torch(machine.Probe("torch"))
    assert torch.verdict == "FAIL" and "libcudart.so.99" in torch.told


def test_a_torch_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(machine, "PATIENCE", 0.3)
    (torch,) = machine.torch(machine.Probe("torch"))
    assert torch.verdict == "FAIL" and "did not end within" in torch.told


def test_wordnet_is_found_where_nltk_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.delenv(wordnet.VARIABLE, raising=False)
    folder = tmp_path / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    for name in wordnet.FILES:
        (folder / name).write_text("  1 WordNet 3.0 Copyright\n")
    found = machine.wordnet(machine.Probe("wordnet"))
    assert found.verdict == "PASS" and "WordNet 3.0" in found.told
    (folder / wordnet.FILES[0]).unlink()
    monkeypatch.setenv(wordnet.VARIABLE, str(folder))
    lacking = machine.wordnet(machine.Probe("wordnet"))
    assert lacking.verdict == "WARN" and "lacks 1 of WordNet's" in lacking.told


def test_a_device_that_does_not_work_is_told_beside_those_that_do() -> None:
    cpu = {"name": "cpu", "told": "1 threads"}
    good = {"name": "cuda:0", "told": "H200, 100 of 139 GiB free, fp32, fp16 and bf16"}
    bad = {"name": "cuda:1", "fault": "RuntimeError: no kernel image is available"}
    said = {"version": "2.15", "cuda": "13.2", "devices": [cpu, good, bad]}
    verdicts = {f.topic: f.verdict for f in machine.device_findings(said)}
    assert verdicts == {
        "torch": "PASS", "device cpu": "PASS", "device cuda:0": "PASS", "device cuda:1": "WARN",
    }  # fmt: skip


def test_an_accelerator_that_torch_does_not_see_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    said = {"version": "2.15", "cuda": None, "devices": [{"name": "cpu", "told": "1 threads"}]}
    assert [f.verdict for f in machine.device_findings(said)] == ["PASS", "PASS", "WARN"]


def test_little_memory_is_a_warning_and_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUP", limit)
    monkeypatch.setattr(machine, "ENOUGH", 2**20)
    for text, verdict in (("max", "PASS"), (str(2**19), "WARN")):
        limit.write_text(text)
        assert machine.memory().verdict == verdict


def usage(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


@pytest.mark.parametrize(
    ("free", "verdicts"),
    [
        (GIB // 2, ["FAIL", "FAIL", "WARN"]),
        (5 * GIB, ["WARN", "WARN", "WARN"]),
        (50 * GIB, ["PASS", "PASS", "PASS"]),
    ],
)
def test_a_full_disk_fails_and_a_small_one_is_a_warning(
    place: Place, monkeypatch: pytest.MonkeyPatch, free: int, verdicts: list[str]
) -> None:
    usage(monkeypatch, free)
    assert [f.verdict for f in folders.findings(place)] == verdicts


def test_a_results_folder_that_is_a_file_fails(place: Place) -> None:
    place.results.write_text("not a folder")
    results, cache, _ = folders.findings(place)
    assert results.verdict == "FAIL" and "cannot be written to" in results.told
    assert results.remedy == "choose another folder with --results DIR"
    assert cache.verdict != "FAIL"


def test_a_data_root_that_cannot_be_written_is_only_a_warning(place: Place) -> None:
    *_, data = folders.findings(replace(place, data_root=Path("/proc/none")))
    assert data.verdict == "WARN" and "--data-root DIR" in data.remedy


def test_a_disk_without_hard_links_or_locks_is_a_warning(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    usage(monkeypatch, 50 * GIB)
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(folders, "FileLock", refuse)
    (found,) = {f.verdict for f in folders.findings(place)}
    told = next(iter(folders.findings(place))).told
    assert found == "WARN" and "no hard links" in told and "no file locks" in told


def test_looking_leaves_nothing_behind(place: Place, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    list(folders.findings(place))
    assert sorted(tmp_path.rglob("*")) == before


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
