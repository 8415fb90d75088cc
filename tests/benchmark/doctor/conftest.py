"""A place to examine: the built-in plugins, empty folders, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants as hub_constants

from omnibench.doctor.findings import Place
from omnibench.registry import Registry


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
