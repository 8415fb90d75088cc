"""Shared fixtures: toy plugins, and the real test data where they are at hand."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnibench import hookimpl
from omnibench.cards import DataAccess, DatasetSpec, EncoderSpec
from omnibench.encoder import Encoder, Features
from omnibench.errors import RunFailed
from omnibench.interfaces import Dataset, Metric, Outcome, RunContext
from omnibench.registry import Registry

# One thread a process: tests run side by side, and start processes of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process
# that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Root of the real test data; skips where OMNIBENCH_TEST_DATA is not set."""
    root = os.environ.get("OMNIBENCH_TEST_DATA")
    if not root:
        pytest.skip("OMNIBENCH_TEST_DATA is not set: real images are not at hand")
    return Path(root)


@dataclasses.dataclass(frozen=True)
class ToySplit:
    """Dark squares are class 0, bright ones class 1."""

    start: int
    count: int
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(self.start, self.start + self.count, dtype=np.int64)

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray[Any, Any]:
        value = 60 + 120 * self.target(index) + index % 5
        return np.full((16, 16), value, dtype=np.uint8)

    def target(self, index: int) -> int:
        return index % 2


@dataclasses.dataclass(frozen=True)
class ToyDataset:
    name: str = "toy-labels"
    kind: str = "labels"
    classes: tuple[str, ...] = ("dark", "bright")
    digest: str = "ab" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> ToySplit:
        return {"train": ToySplit(0, 12), "val": ToySplit(12, 6), "test": ToySplit(18, 8)}[name]


def open_toy(access: DataAccess) -> Dataset:
    return ToyDataset()  # type: ignore[return-value]


class ToyEncoder(Encoder):
    """One 4x4 patch convolution, a mean token as prefix."""

    def __init__(self) -> None:
        backbone = torch.nn.Conv2d(3, 6, 4, stride=4)
        super().__init__(
            backbone,
            embed_dim=6,
            patch_size=4,
            depth=1,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )

    def _features(self, x: torch.Tensor) -> Features:
        maps = self.backbone(x)
        tokens = maps.flatten(2).transpose(1, 2)
        prefix = tokens.mean(dim=1, keepdim=True)
        return Features(prefix[:, 0], tokens, prefix, (maps.shape[2], maps.shape[3]))

    def _intermediates(self, x: torch.Tensor, layers: tuple[int, ...], norm: bool) -> list[Any]:
        return [self.backbone(x)]


def build_toy(*, weights: Path | None, random_init: bool) -> Encoder:
    return ToyEncoder()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyRecipe:
    normalization: str = "own"
    pool: str = "cls"
    seeds: int = 3
    lr: float = 0.1
    fail_seed: int = -1
    stop_seed: int = -1
    max_images: tuple[int, int, int] | None = None


class ToyTask:
    """Scores the mean brightness with a little seeded noise; fails where it is told to."""

    name = "toy"
    version = 1
    summary = "tell bright from dark"
    recipes = ("paper", "quick")
    tunings = ()
    runs: list[int]

    def __init__(self) -> None:
        self.runs = []

    def recipe(self, name: str, tuning: str | None = None) -> ToyRecipe:
        return ToyRecipe(seeds=2 if name == "quick" else 3)

    def accepts(self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: ToyRecipe) -> str | None:
        if dataset.kind != "labels":
            return f"task 'toy' cannot use {dataset.name!r}: it has {dataset.kind}, not labels"
        return None

    def stochastic(self, recipe: ToyRecipe) -> bool:
        return True

    def precision(self, asked: str, recipe: ToyRecipe) -> str:
        return asked

    def variants(self, recipe: ToyRecipe) -> tuple[str, ...]:
        return ("",)

    def headline(self, recipe: ToyRecipe) -> str:
        return "accuracy"

    def run(
        self, handle: Any, dataset: Dataset, recipe: ToyRecipe, context: RunContext
    ) -> Iterator[Outcome]:
        self.runs.append(context.seed)
        if context.seed == recipe.fail_seed:
            raise RunFailed("the training loss became nan in epoch 1, step 1", kind="nan_loss")
        if context.seed == recipe.stop_seed:
            raise KeyboardInterrupt
        encoder = handle.build(normalization="own", pool="cls")
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name in ("val", "test"):
            split = dataset.split(name)
            noise = np.random.default_rng(context.seed).normal(0, 30, len(split))
            values = [float(split.image(i).mean()) for i in range(len(split))]
            arrays[f"{name}_id"] = split.ids
            arrays[f"{name}_score"] = (np.array(values) + noise).astype(np.float32)
            arrays[f"{name}_label"] = np.array([split.target(i) for i in range(len(split))])
        yield Outcome(
            predictions=arrays,
            params_total=sum(p.numel() for p in encoder.parameters()),
            params_trainable=0,
        )

    def score(self, predictions: Mapping[str, Any], split: str = "test") -> Sequence[Metric]:
        guess = predictions[f"{split}_score"] > 120
        right = guess == predictions[f"{split}_label"]
        return [Metric(id="accuracy", value=float(right.mean()))]

    def draw(self, dataset: Dataset, predictions: Mapping[str, Any], title: str) -> bytes | None:
        return None


class ToyPlugin:
    """A plugin as an object: one encoder, one task, one dataset."""

    __name__ = "toy"

    def __init__(self) -> None:
        self.task = ToyTask()

    @hookimpl
    def omnibench_encoders(self) -> list[EncoderSpec]:
        return [
            EncoderSpec(name="toy-encoder", build=build_toy, embed_dim=6, patch_size=4, depth=1)
        ]

    @hookimpl
    def omnibench_tasks(self) -> list[ToyTask]:
        return [self.task]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        masks = DatasetSpec(name="toy-masks", kind="masks", open=open_toy)
        return [DatasetSpec(name="toy-labels", kind="labels", open=open_toy), masks]


@pytest.fixture
def toy() -> ToyPlugin:
    """A fresh toy plugin."""
    return ToyPlugin()


@pytest.fixture
def toy_registry(toy: ToyPlugin) -> Registry:
    """A registry that knows the toy plugin only."""
    return Registry.of(toy, distribution="toybox")


TOY_FILE = """
import sys
sys.path.insert(0, {folder!r})
from conftest import ToyPlugin
_toy = ToyPlugin()
omnibench_encoders = _toy.omnibench_encoders
omnibench_tasks = _toy.omnibench_tasks
omnibench_datasets = _toy.omnibench_datasets
"""


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    """The toy plugin as a file, for processes of their own (`--plugin FILE`)."""
    file = tmp_path / "toy_plugin.py"
    file.write_text(TOY_FILE.format(folder=str(Path(__file__).parent)))
    return file
