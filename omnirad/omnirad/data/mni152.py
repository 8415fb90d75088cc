"""Slices of the MNI152 template that `nilearn` ships: real MRI, one averaged brain.

Axial, coronal and sagittal slices; the blocks of slices that are `train`, `val` and `test` are
those of the benchmark's dataset `mni152-tissue`, whose tests must stay unseen.
ICBM 152 nonlinear 2009a symmetric template: Copyright (C) 1993-2009 Louis Collins, McConnell
Brain Imaging Centre, Montreal Neurological Institute, McGill University.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from omnirad.data.sources import TRAIN, Array, Content, Sample
from omnirad.errors import SetupError

NAME = "mni152"
SHAPE = (197, 233, 189)  # sagittal, coronal, axial; 1 mm voxels
PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))  # and the axis each of them cuts
MIDLINE = 98  # sagittal index; the halves beside it are mirror images, so one half is used
MIN_TISSUE = 1500  # grey and white matter pixels of a slice worth showing
LIKELY = 128  # of 255: a voxel is tissue if either map says at least one half

# Neighbouring slices are nearly equal: blocks of one split, and a gap before the next block.
GAP = 3  # slices, that is mm
BLOCKS = (("train", 20), ("val", 7), ("test", 10))


class Slice(NamedTuple):
    """One slice and where it belongs."""

    plane: str
    axis: int
    position: int  # index along the axis, also mm
    split: str


@dataclass(frozen=True)
class Mni152Source:
    """Slices of the template (a `Source`); ids are `<plane>/<position>`."""

    slices: tuple[Slice, ...]
    name: str = NAME

    def __len__(self) -> int:
        """Number of slices N."""
        return len(self.slices)

    def sample(self, index: int) -> Sample:
        """Return what is known of a slice."""
        s = self.slices[index]
        return Sample(
            id=f"{s.plane}/{s.position}",
            source=NAME,
            modality="MR",
            anatomy="brain",
            label=s.plane,
            split=s.split,
        )

    def image(self, index: int) -> Array:
        """Return a slice, uint8 [H, W], the head's top or front at the top."""
        s = self.slices[index]
        cut: Array = np.rot90(np.moveaxis(volume("t1"), s.axis, 0)[s.position]).copy()
        return cut

    def inspect(self, index: int) -> Content:
        """Digest the pixels of a slice."""
        image = self.image(index)
        digest = hashlib.sha1(image.tobytes(), usedforsecurity=False).hexdigest()
        return Content(image.shape[0], image.shape[1], digest)


def open_mni152(splits: Sequence[str] = TRAIN) -> Mni152Source:
    """Return the slices of some splits, plane by plane.

    Raises:
        SetupError: If `nilearn` or its template files are absent.
    """
    found = (s for plane, axis in PLANES for s in _slices(plane, axis) if s.split in splits)
    return Mni152Source(tuple(found))


def _slices(plane: str, axis: int) -> Iterator[Slice]:
    """Yield the slices of a plane that show enough brain, gaps left out."""
    tissue = np.maximum(volume("gm"), volume("wm")) >= LIKELY
    area = tissue.sum(axis=tuple(a for a in range(3) if a != axis))
    positions = np.flatnonzero(area >= MIN_TISSUE)
    if axis == 0:
        positions = positions[positions < MIDLINE]
    for position, split in zip(positions, _pattern(), strict=False):
        if split:
            yield Slice(plane, axis, int(position), split)


def _pattern() -> Iterator[str]:
    """Yield the split of successive slices, for ever; gaps have none."""
    while True:
        for split, length in BLOCKS:
            yield from [split] * length
            yield from [""] * GAP


@lru_cache(maxsize=3)
def volume(kind: str) -> Array:
    """Read template (`t1`) or tissue map (`gm`, `wm`), uint8 [197, 233, 189], read-only.

    They are those of the installed `nilearn`, which is not imported.

    Raises:
        SetupError: If `nilearn` or its template files are absent.
    """
    import nibabel

    spec = importlib.util.find_spec("nilearn")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise SetupError("nilearn is not installed; pip install nilearn")
    file = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(folders[0]) / "datasets" / "data" / file
    if not path.exists():
        raise SetupError(f"this nilearn does not ship {file}; pip install 'nilearn>=0.12'")
    found: Array = np.asarray(nibabel.load(path).dataobj, dtype=np.uint8)
    if found.shape != SHAPE:
        raise SetupError(
            f"{file} has shape {found.shape}, {SHAPE} was expected; pip install 'nilearn==0.14.1'"
        )
    found.flags.writeable = False
    return found
