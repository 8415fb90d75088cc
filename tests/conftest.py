"""Shared fixtures: a tiny encoder, small datasets, and the shared test data where present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Root of the real test data; skips where OMNIBENCH_TEST_DATA is not set."""
    root = os.environ.get("OMNIBENCH_TEST_DATA")
    if not root:
        pytest.skip("OMNIBENCH_TEST_DATA is not set: real images are not at hand")
    return Path(root)
