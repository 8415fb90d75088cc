"""A dataset of random pictures in memory, a tiny encoder of them, and its frozen features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from omnibench.cards import EncoderSpec
from omnibench.encoder import Encoder, Features
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures
from omnibench.features.readings import POOLED
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import Silent

COUNT = 37  # two chunks and a rest


@dataclasses.dataclass
class Pictures:
    """Random images of 16 px; ids count in threes."""

    images: list[Any]
    targets: list[Any] = dataclasses.field(default_factory=list)
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(len(self.images), dtype=np.int64) * 3

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        return self.images[index]

    def target(self, index: int) -> Any:
        return self.targets[index]


@dataclasses.dataclass
class Album:
    train: Pictures
    name: str = "album"
    kind: str = "labels"
    classes: tuple[str, ...] = ("a", "b")
    digest: str = "ab" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> Pictures:
        return self.train


def album(count: int = COUNT, **changes: Any) -> Any:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(count)]
    return Album(Pictures(images), **changes)


class Tiny(Encoder):
    """A patch convolution, and a class token unless told otherwise."""

    seen = 0
    writes = False

    def __init__(self, prefix: bool = True) -> None:
        super().__init__(
            torch.nn.Conv2d(3, 6, 4, stride=4),
            embed_dim=6,
            patch_size=4,
            depth=1,
            mean=(0.5, 0.4, 0.3),
            std=(0.5, 0.5, 0.5),
        )
        self.prefix = prefix
        self.register_buffer("passes", torch.zeros(()))

    def _features(self, x: torch.Tensor) -> Features:
        Tiny.seen += len(x)
        if self.writes and len(x) > 1:
            self.passes += 1
        maps = self.backbone(x)
        tokens = maps.flatten(2).transpose(1, 2)
        first = tokens.amax(dim=1, keepdim=True) if self.prefix else None
        return Features(tokens.mean(dim=1), tokens, first, (maps.shape[2], maps.shape[3]))

    def _intermediates(self, x: torch.Tensor, layers: tuple[int, ...], norm: bool) -> list[Any]:
        return [self.backbone(x)]


def handle(store: FeatureStore | None = None, sha256: str = "12" * 32, **changes: Any) -> Any:
    def build(*, weights: Any, random_init: bool) -> Encoder:
        made = Tiny(changes.get("prefix", True))
        made.writes = changes.get("writes", False)
        return made

    card = EncoderSpec(name="tiny", build=build, embed_dim=6, patch_size=4, depth=1)
    kind = "random" if sha256 else "own"
    return EncoderHandle(
        card=card,
        weights=WeightsChoice(kind=kind, sha256=sha256),
        label="tiny",
        store=store,
        storage=changes.get("storage", "fp32"),
    )


def features(owner: Any, reading: Any = POOLED, **changes: Any) -> FrozenFeatures:
    asked = {
        "normalization": "own",
        "size": 16,
        "antialias": True,
        "device": "cpu",
        "precision": "fp32",
        **changes,
    }
    return FrozenFeatures(owner, reading, **asked)


def every(source: FrozenFeatures, dataset: Any = None) -> dict[str, torch.Tensor]:
    rows = source.of(dataset or album(), "train", Silent())
    return rows.read(torch.arange(len(rows)))
