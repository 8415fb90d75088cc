"""Faults of torch, devices, memory and WordNet are found, with what mends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnibench.doctor import machine
from omnibench.metrics import wordnet


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
