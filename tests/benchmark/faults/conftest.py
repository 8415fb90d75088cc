from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def nobody_pulls_the_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush nothing to the disk: a killed process loses nothing by that, and it takes most time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
