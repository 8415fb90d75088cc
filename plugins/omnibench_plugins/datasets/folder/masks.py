"""The masks of a folder: what values they hold decides the classes, once, over all splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnibench.errors import IntegrityError
from omnibench_plugins.datasets.digests import digests
from omnibench_plugins.datasets.folder.images import Array, read_mask
from omnibench_plugins.datasets.folder.samples import Sample, listed

# Class indices are few; smoothed edges, as image editors leave them, make hundreds of values.
MAX_VALUES = 64


@dataclass(frozen=True)
class MaskSurvey:
    """What all masks of a folder hold."""

    values: tuple[int, ...]  # raw values in class order, 0 first
    digests: list[str]  # SHA-256 of every mask file

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order."""
        if len(self.values) == 2:
            return ("background", "foreground")
        return ("background", *(f"value-{value}" for value in self.values[1:]))


@dataclass(frozen=True)
class MaskMap:
    """Reads a mask as class indices: positions in the sorted raw values of all masks."""

    root: Path
    values: tuple[int, ...]

    def __call__(self, sample: Sample) -> Array:
        """Return the mask of a sample, uint8 [H, W]."""
        raw = read_mask(self.root / str(sample.target))
        return np.searchsorted(np.array(self.values), raw).astype(np.uint8)


def survey(root: Path, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> MaskSurvey:
    """Read every mask once.

    Args:
        root: The folder.
        samples: Images and the paths of their masks.
        sizes: Size (H, W) of each image.

    Raises:
        IntegrityError: If masks cannot be read, do not have their image's size, hold too many
            values, or are all empty.
    """
    values: set[int] = {0}
    shas, misfits, problems = [], [], {}
    for sample, size in zip(samples, sizes, strict=True):
        path = root / str(sample.target)
        try:
            mask = read_mask(path)
        except IntegrityError as error:
            problems[sample.image] = str(error)
            continue
        if mask.shape != size:
            misfits.append(sample.image)
        values |= set(np.unique(mask).tolist())
        if len(values) > MAX_VALUES:
            raise IntegrityError(
                f"the masks hold more than {MAX_VALUES} different values by {path.name}; they "
                "should hold class indices, or 0 and 255, without smoothed edges"
            )
        shas.append(digests(path)[1])
    if problems:
        raise IntegrityError(
            f"{len(problems)} of {len(samples)} masks cannot be used: {listed(problems)}; "
            f"the first says: {problems[min(problems)]}"
        )
    if misfits:
        raise IntegrityError(
            f"{len(misfits)} of {len(samples)} masks do not have the size of their image: "
            f"{listed(misfits)}"
        )
    if len(values) < 2:
        raise IntegrityError("all masks are empty; at least one class besides 0 is needed")
    return MaskSurvey(tuple(sorted(values)), shas)
