"""Slices of the MNI152 template, labelled by tissue or by plane, split in separated blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from omnibench.cards import SPLITS
from omnibench_plugins.datasets.arrays import Array, ArraySplit, frozen
from omnibench_plugins.datasets.borrowed import errors_translated
from omnirad.data.mni152 import BLOCKS, GAP, MIDLINE, MIN_TISSUE, SHAPE, volume

GREY, WHITE = 2, 3  # class indices; 1 is everything else inside the brain
PLANE_AXES = (2, 1, 0)  # axis that is cut by axial, coronal and sagittal slices
PLANE_NAMES = ("sagittal", "coronal", "axial")  # by axis
# Words for thirds, from the first slice to the last; only one half is cut sagittally.
PLACES = (
    ("outer", "middle", "inner"),
    ("back", "middle", "front"),
    ("lower", "middle", "upper"),
)

SPLIT_RULE = (
    "repeating contiguous blocks of 20 train, 7 val and 10 test slices, 3 slices left out between"
)


class Volume(NamedTuple):
    """The template as arrays [197, 233, 189], read-only."""

    image: Array  # T1 without skull, uint8
    tissue: Array  # class indices, uint8


@dataclass(frozen=True)
class CaptionSplit:
    """Images of another split with one template text each."""

    images: ArraySplit
    texts: tuple[str, ...]

    @property
    def ids(self) -> Array:
        """Ids of the images, int64 [N]."""
        return self.images.ids

    @property
    def groups(self) -> Array | None:
        """Groups of the images, int64 [N]."""
        return self.images.groups

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.images)

    def image(self, index: int) -> Array:
        """Return a copy of one image: uint8 [H, W]."""
        return self.images.image(index)

    def target(self, index: int) -> tuple[str, ...]:
        """Return one template text."""
        return (self.texts[index],)


class Slice(NamedTuple):
    """One slice and where it belongs."""

    axis: int
    position: int  # index along the axis, also mm
    split: str
    block: int  # counted along the axis


def tissue_splits() -> dict[str, ArraySplit]:
    """Return axial slices with tissue masks; ids are slice positions, groups are blocks."""
    volume = read_volume()
    splits = {}
    for split in SPLITS:
        chosen = [s for s in slices(volume, axis=2) if s.split == split]
        images = np.stack([_upright(volume.image, s) for s in chosen])
        splits[split] = ArraySplit(
            load_images=partial(np.asarray, images),
            targets=np.stack([_upright(volume.tissue, s) for s in chosen]),
            ids=np.array([s.position for s in chosen], dtype=np.int64),
            groups=np.array([s.block for s in chosen], dtype=np.int64),
        )
    return splits


def plane_splits() -> dict[str, ArraySplit]:
    """Return slices of three planes, padded to squares; ids interleave the planes.

    Group ids are block numbers, different in every plane.
    """
    volume = read_volume()
    splits = {}
    for split, chosen in _of_planes(volume).items():
        images = np.stack([_square(_upright(volume.image, s)) for _, _, s in chosen])
        splits[split] = ArraySplit(
            load_images=partial(np.asarray, images),
            targets=np.array([plane for _, plane, _ in chosen], dtype=np.int64),
            ids=np.array([number for number, _, _ in chosen], dtype=np.int64),
            groups=np.array([3 * s.block + plane for _, plane, s in chosen], dtype=np.int64),
        )
    return splits


def caption_splits() -> dict[str, CaptionSplit]:
    """Return the images of `plane_splits` with template text in place of planes."""
    volume = read_volume()
    planes = plane_splits()
    return {
        split: CaptionSplit(planes[split], tuple(describe(volume, s) for _, _, s in chosen))
        for split, chosen in _of_planes(volume).items()
    }


def describe(volume: Volume, s: Slice) -> str:
    """Return template text: plane, place in the brain, and tissue to the nearest 5 percent.

    It has few words that never change: a caption that fits every image should score low.
    """
    first, last = _extent(s.axis)
    place = PLACES[s.axis][3 * (s.position - first) // (last - first + 1)]
    tissue = _upright(volume.tissue, s)
    grey, white = (
        round(20 * np.count_nonzero(tissue == kind) / np.count_nonzero(tissue)) * 5
        for kind in (GREY, WHITE)
    )
    plane = PLANE_NAMES[s.axis].capitalize()
    return f"{plane} slice, {place} third: {grey} percent grey, {white} percent white matter."


def _of_planes(volume: Volume) -> dict[str, list[tuple[int, int, Slice]]]:
    """Return id, plane and slice of every split, in the order of ids."""
    found = [
        (3 * rank + plane, plane, s)
        for plane, axis in enumerate(PLANE_AXES)
        for rank, s in enumerate(slices(volume, axis))
    ]
    found.sort(key=lambda entry: entry[0])
    return {split: [entry for entry in found if entry[2].split == split] for split in SPLITS}


@lru_cache(maxsize=3)
def _extent(axis: int) -> tuple[int, int]:
    """Return the first and last usable slice along an axis."""
    positions = [s.position for s in slices(read_volume(), axis)]
    return positions[0], positions[-1]


def slices(volume: Volume, axis: int) -> list[Slice]:
    """Return the usable slices along an axis, in order, gaps left out."""
    others = tuple(a for a in range(3) if a != axis)
    tissue = (volume.tissue >= GREY).sum(axis=others)
    positions = np.flatnonzero(tissue >= MIN_TISSUE)
    if axis == 0:
        positions = positions[positions < MIDLINE]
    return [
        Slice(axis, int(position), split, block)
        for position, (split, block) in zip(positions, _pattern(), strict=False)
        if split
    ]


@lru_cache(maxsize=1)
def read_volume() -> Volume:
    """Read template and tissue maps from the installed `nilearn`.

    A voxel is grey or white matter if that map says at least 0.5 and not less than the other;
    any other voxel of the brain is class 1, mostly cerebrospinal fluid and mixed voxels.

    Raises:
        SetupError: If `nilearn` or its template files are absent.
    """
    with errors_translated():
        image, grey, white = (volume(kind) for kind in ("t1", "gm", "wm"))
    tissue = np.zeros(SHAPE, dtype=np.uint8)
    tissue[image > 0] = 1
    tissue[(grey >= white) & (grey >= 128)] = GREY
    tissue[(white > grey) & (white >= 128)] = WHITE
    return Volume(frozen(image), frozen(tissue))


def _pattern() -> Iterator[tuple[str, int]]:
    """Yield split and block number of successive slices; gaps have no split."""
    block = 0
    while True:
        for split, length in BLOCKS:
            yield from [(split, block)] * length
            yield from [("", block)] * GAP
            block += 1


def _upright(volume: Array, s: Slice) -> Array:
    """Cut a slice, with the head's top or front at the top."""
    image: Array = np.rot90(np.moveaxis(volume, s.axis, 0)[s.position]).copy()
    return image


def _square(image: Array) -> Array:
    """Pad an image to SHAPE's longest side, so that its outline does not tell the plane."""
    side = max(SHAPE)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    padded = np.zeros((side, side), dtype=image.dtype)
    padded[top : top + image.shape[0], left : left + image.shape[1]] = image
    return padded
