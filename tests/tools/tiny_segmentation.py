"""Discs to segment in memory, a tiny encoder, and runs of `seg` on them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omnibench.cards import EncoderSpec
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import RunContext
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.model import Source
from omnibench_plugins.tasks.seg.recipe import PAPER, SegRecipe
from omnibench_plugins.tasks.seg.sheet import nearest
from omnibench_plugins.tasks.seg.task import Segmentation

TASK = Segmentation()
SOURCE = Source(64, (64, 64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as `test_vit`
TINY = dataclasses.replace(PAPER, image_size=64, epochs=2, batch_size=4, lr=1e-3)


@dataclasses.dataclass(frozen=True)
class Masks:
    images: list[np.ndarray]
    masks: list[np.ndarray]
    ids: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def target(self, index: int) -> np.ndarray:
        return self.masks[index]


@dataclasses.dataclass(frozen=True)
class MaskDataset:
    splits: Mapping[str, Masks]
    classes: tuple[str, ...]
    name: str = "blobs"
    kind: str = "masks"
    digest: str = "ef" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> Masks:
        return self.splits[name]


def blobs(classes: int = 2, counts=(8, 4, 7), side: int = 64, native: int | None = None) -> Any:
    """Noisy grey images with one bright disc a foreground class; the class sets its grey."""
    draw = np.random.default_rng(0)
    grid = np.mgrid[:side, :side]

    def split(start: int, count: int) -> Masks:
        images, masks = [], []
        for _ in range(count):
            image, mask = draw.normal(40, 8, (side, side)), np.zeros((side, side), np.uint8)
            for c in range(1, classes):
                centre = draw.integers(side // 4, 3 * side // 4, size=2)
                disc = ((grid - centre[:, None, None]) ** 2).sum(axis=0) < (side / 6) ** 2
                image[disc], mask[disc] = 40 + 180 * c / (classes - 1), c
            grey = image.clip(0, 255).astype(np.uint8)
            images.append(nearest(grey, native) if native else grey)
            masks.append(nearest(mask, native) if native else mask)
        ids = np.arange(start, start + count, dtype=np.int64) * 3
        return Masks(images, masks, ids, ids // 6)

    first = np.cumsum((0, *counts))
    splits = {
        name: split(int(start), count)
        for name, start, count in zip(("train", "val", "test"), first, counts, strict=False)
    }
    return MaskDataset(splits, tuple(f"class {c}" for c in range(classes)))


def handle(name: str = "test_vit", change: Any = None) -> EncoderHandle:
    def make(*, weights: Path | None, random_init: bool) -> Any:
        made = build(name, weights=weights, random_init=random_init)
        return change(made) if change else made

    card = EncoderSpec(name="tiny", build=make, embed_dim=64, patch_size=16, depth=6)
    weights = WeightsChoice(kind="random", sha256="12" * 32)
    return EncoderHandle(card=card, weights=weights, label="tiny")


def outcome(dataset: Any, recipe: SegRecipe = TINY, seed: int = 0, encoder: Any = None) -> Any:
    [found] = TASK.run(encoder or handle(), dataset, recipe, RunContext(seed=seed))
    return found
