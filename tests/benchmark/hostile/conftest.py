"""Plugins as strangers install them: distributions with metadata on the path of a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]


@pytest.fixture(autouse=True)
def the_variable_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for weights offline sets it for the whole process, and those that it starts."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install a distribution with one module: name, source, entry point."""

    def write(distribution: str, source: str, entry: str = "offers", version: str = "1") -> None:
        site = tmp_path / "site"
        module = f"{distribution.replace('-', '_').lower()}_{entry}"
        metadata = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True, exist_ok=True)
        text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (metadata / "METADATA").write_text(text)
        points = metadata / "entry_points.txt"
        old = points.read_text() if points.exists() else "[omnibench]\n"
        points.write_text(f"{old}{entry} = {module}\n")
        (site / f"{module}.py").write_text(source)

    return write


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the command line in a process of its own that sees what `install` wrote."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "omnibench", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path / "site"),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "OMP_NUM_THREADS": "1",
                **environment,
            },
            check=False,
            timeout=120,
        )

    return call
