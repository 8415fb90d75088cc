"""Splits in memory: images and masks on one grid, and how mask values become classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnibench.errors import IntegrityError
from omnibench.interfaces import SPLITS, Dataset, Progress, Split
from omnibench.loading import resized_images, resized_masks
from omnibench_plugins.tasks.seg.recipe import SegRecipe

UNKNOWN = 255


@dataclass(frozen=True)
class Samples:
    """One split on a square grid; masks of their native size are read when asked for."""

    images: Tensor  # [N, C, S, S], uint8 or float in [0, 1], C = 1 where all are grey
    masks: Tensor  # class indices, uint8 [N, S, S]
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


def read_data(dataset: Dataset, recipe: SegRecipe, progress: Progress) -> Data:
    """Decode every split once and squash it to `recipe.image_size` pixels.

    Raises:
        IntegrityError: If a mask holds a value that is no class.
    """
    values = {name: _class_values(dataset, name, recipe) for name in SPLITS}
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
    size = recipe.image_size
    splits = {}
    for name in SPLITS:
        split = dataset.split(name)
        lookup = class_lookup(values[name])
        masks = torch.from_numpy(lookup[resized_masks(split, size).numpy()])
        images = resized_images(split, size, antialias=False, progress=progress)
        splits[name] = Samples(images, masks, split, lookup)
    return Data(splits, values)


def class_lookup(values: list[int]) -> np.ndarray[Any, Any]:
    """Return the class index of each possible mask value, uint8 [256]."""
    lookup = np.full(256, UNKNOWN, dtype=np.uint8)
    lookup[values] = np.arange(len(values))
    return lookup


def _class_values(dataset: Dataset, name: str, recipe: SegRecipe) -> list[int]:
    """Return the mask values of a split in class order, after checking that they are classes."""
    classes = len(dataset.classes)
    split = dataset.split(name)
    found: set[int] = set()
    for index in range(len(split)):
        here = np.unique(split.target(index)).tolist()
        if here[-1] >= classes:
            raise IntegrityError(
                f"the mask of sample {split.ids[index]} in split {name!r} of {dataset.name!r} "
                f"holds the value {here[-1]}, but {classes} classes are declared; check the file"
            )
        found.update(here)
    return sorted(found) if recipe.label_map == "per_split" else list(range(classes))
