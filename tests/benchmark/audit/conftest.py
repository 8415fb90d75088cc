"""Datasets in memory, made of textures that no two of which are alike."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from omnibench.errors import IntegrityError
from omnibench.features.cache import FeatureStore

RECALL = Path(__file__).parents[2] / "performance/audit_recall.py"


def _texture(seed: int, side: int = 144) -> np.ndarray[Any, Any]:
    """Return an image uint8 [side, side] with coarse and fine structure."""
    random = np.random.default_rng(seed)
    layers = [
        ndimage.gaussian_filter(random.normal(size=(side, side)), s) * s for s in (1.5, 4, 12)
    ]
    image = sum(layers)
    image = (image - image.min()) / np.ptp(image)
    return np.rint(image * 200 + 20).astype(np.uint8)


@dataclasses.dataclass
class MemorySplit:
    images: Sequence[Any]  # an image, or an exception to raise
    targets: Sequence[Any]
    first_id: int
    groups: np.ndarray[Any, Any] | None = None
    reads: int = 0

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(self.first_id, self.first_id + len(self.images), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        self.reads += 1
        if self.images[index] is None:
            raise IntegrityError("the file is damaged")
        if isinstance(self.images[index], BaseException):
            raise self.images[index]
        return self.images[index]

    def target(self, index: int) -> Any:
        return self.targets[index]


@dataclasses.dataclass
class MemoryDataset:
    splits: Mapping[str, MemorySplit]
    kind: str = "labels"
    classes: tuple[str, ...] = ("dark", "bright")
    name: str = "memory"
    digest: str = "cd" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> MemorySplit:
        return self.splits[name]


def _memory(
    train: Sequence[Any], val: Sequence[Any], test: Sequence[Any], targets: Any = None, **other: Any
) -> MemoryDataset:
    """Return a dataset whose ids are positions; `targets` of all splits in order, 0 by default."""
    given, at, splits = list(targets or [0] * (len(train) + len(val) + len(test))), 0, {}
    groups = other.pop("groups", None)
    for name, images in (("train", train), ("val", val), ("test", test)):
        stop = at + len(images)
        part = None if groups is None else np.array(groups[at:stop], dtype=np.int64)
        splits[name] = MemorySplit(images, given[at:stop], at, part)
        at = stop
    return MemoryDataset(splits, **other)


@pytest.fixture(scope="session")
def texture() -> Callable[..., np.ndarray[Any, Any]]:
    return _texture


@pytest.fixture(scope="session")
def memory() -> Callable[..., MemoryDataset]:
    return _memory


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "audit", 10**9)


@pytest.fixture(scope="session")
def recall() -> ModuleType:
    """The script that plants copies."""
    spec = importlib.util.spec_from_file_location("audit_recall", RECALL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
