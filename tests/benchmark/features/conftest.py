"""A store of features in the test's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnibench.features.cache import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, 10**9)
