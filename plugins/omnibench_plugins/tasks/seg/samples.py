"""Splits on one grid: images and masks, and how mask values become classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError
from omnibench.features.cache import FeatureStore
from omnibench.features.images import images_of, masks_of
from omnibench.features.rows import Rows
from omnibench.forward import CHUNK, Images
from omnibench.interfaces import Dataset, Progress, Split
from omnibench_plugins.tasks.seg.recipe import SegRecipe

UNKNOWN = 255


@dataclass(frozen=True)
class Masks:
    """Class indices of a split on a square grid, read like a tensor [N, S, S]."""

    rows: Rows
    lookup: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return class indices, uint8 [b, S, S], of the samples at the given indices [b]."""
        return torch.from_numpy(self.lookup[self.rows.read(index)["mask"].numpy()])


@dataclass(frozen=True)
class Samples:
    """One split on a square grid; masks of their native size are read when asked for."""

    images: Images  # [N, C, S, S], uint8 or float in [0, 1], C = 1 where all are grey
    masks: Masks
    split: Split
    lookup: np.ndarray[Any, Any]  # class index of a mask value, uint8 [256]

    def __len__(self) -> int:
        return len(self.masks)

    def native_mask(self, index: int) -> Tensor:
        """Return class indices, uint8 [H, W]."""
        return torch.from_numpy(self.lookup[self.split.target(index)])


@dataclass(frozen=True)
class Data:
    """The three splits and their classes."""

    splits: dict[str, Samples]
    values: dict[str, list[int]]  # mask values in class order, by split

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return len(self.values["train"])


def read_data(
    dataset: Dataset, recipe: SegRecipe, progress: Progress, store: FeatureStore | None = None
) -> Data:
    """Decode every split once and squash it to `recipe.image_size` pixels.

    Args:
        dataset: Source.
        recipe: Size, and which mask values become which class.
        progress: Told about each image.
        store: Where decoded images and masks are kept; None keeps them in memory.

    Raises:
        IntegrityError: If a mask holds a value that is no class.
    """
    size = recipe.image_size
    rows = {name: masks_of(store, dataset, name, size, progress) for name in SPLITS}
    values = {name: _class_values(dataset, name, rows[name], recipe) for name in SPLITS}
    if len(values["train"]) < 2:
        raise IntegrityError(
            f"the training masks of {dataset.name!r} hold one class only; nothing can be learnt"
        )
    surplus = {n: v for n, v in values.items() if len(v) > len(values["train"])}
    if surplus:
        raise IntegrityError(
            f"split {next(iter(surplus))!r} of {dataset.name!r} holds more classes than the "
            "training split; use --set label_map=fixed"
        )
    splits = {}
    for name in SPLITS:
        lookup = class_lookup(values[name])
        images = images_of(store, dataset, name, size, False, progress=progress)
        splits[name] = Samples(images, Masks(rows[name], lookup), dataset.split(name), lookup)
    return Data(splits, values)


def class_lookup(values: list[int]) -> np.ndarray[Any, Any]:
    """Return the class index of each possible mask value, uint8 [256]."""
    lookup = np.full(256, UNKNOWN, dtype=np.uint8)
    lookup[values] = np.arange(len(values))
    return lookup


def _class_values(dataset: Dataset, name: str, masks: Rows, recipe: SegRecipe) -> list[int]:
    """Return the mask values of a split in class order, after checking that they are classes."""
    classes = len(dataset.classes)
    found: set[int] = set()
    for index in torch.split(torch.arange(len(masks)), CHUNK):
        for sample, present in zip(index.tolist(), masks.read(index)["present"], strict=True):
            here = present.nonzero().flatten().tolist()
            if here[-1] >= classes:
                raise IntegrityError(
                    f"the mask of sample {dataset.split(name).ids[sample]} in split {name!r} of "
                    f"{dataset.name!r} holds the value {here[-1]}, but {classes} classes are "
                    "declared; check the file"
                )
            found.update(here)
    return sorted(found) if recipe.label_map == "per_split" else list(range(classes))
