"""Faults of the folders that runs write to are found, and looking leaves nothing behind."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from omnibench.doctor import folders
from omnibench.doctor.findings import GIB, Place


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
