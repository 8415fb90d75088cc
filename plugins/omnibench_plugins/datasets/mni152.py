"""The embedded default: brain tissue, slice planes and template text on the MNI152 template.

Real MRI that comes with `nilearn`, so nothing is downloaded; but one average of 152 brains, whose
tissue classes were derived from the very images shown: for a first try, never for a ranking.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from omnibench.cards import DataAccess, DatasetKind, DatasetSpec
from omnibench.interfaces import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnibench.interfaces import Split

TISSUES = ("background", "csf-and-other", "grey matter", "white matter")
PLANES = ("axial", "coronal", "sagittal")

NOTICE = (
    "ICBM 152 nonlinear 2009a symmetric template: Copyright (C) 1993-2009 Louis Collins, "
    "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University. "
    "Permission to use, copy, modify, and distribute this software and its documentation for any "
    "purpose and without fee is hereby granted, provided that the above copyright notice appear "
    "in all copies."
)
CAUTION = "one averaged brain: a first try, never a ranking"
TEMPLATE = "captions are template text made from plane, place and tissue shares of the slice"


def cards() -> list[DatasetSpec]:
    """Return the tissue card (masks), and its views with planes (labels) and text (captions)."""
    tissue = _card("mni152-tissue", "masks", TISSUES, (60, 21, 30))
    plane = _card("mni152-plane", "labels", PLANES, (180, 56, 70))
    caption = _card("mni152-caption", "captions", (), (180, 56, 70))
    caption = replace(caption, notes=f"{TEMPLATE}; {caption.notes}")
    return [replace(tissue, views=(plane, caption)), plane, caption]


def _card(
    name: str, kind: DatasetKind, classes: tuple[str, ...], counts: tuple[int, int, int]
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        kind=kind,
        open=partial(_open, name),
        classes=classes,
        split_sizes=counts,
        modality="MRI",
        collection="nilearn",
        licence="ICBM: free use with the copyright notice",
        commercial=True,
        source_url="https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009",
        citation="10.1016/j.neuroimage.2010.07.033",
        embedded=True,
        notes=f"{CAUTION}. {NOTICE}",
    )


def _open(name: str, access: DataAccess) -> Dataset:
    """Open one of the three; needs neither data root nor network, so `access` is not looked at."""
    from omnibench_plugins.datasets import mni152_slices
    from omnibench_plugins.datasets.arrays import OpenDataset, content_digest

    kinds: dict[str, tuple[DatasetKind, tuple[str, ...], Callable[[], Mapping[str, Split]]]] = {
        "mni152-tissue": ("masks", TISSUES, mni152_slices.tissue_splits),
        "mni152-plane": ("labels", PLANES, mni152_slices.plane_splits),
        "mni152-caption": ("captions", (), mni152_slices.caption_splits),
    }
    kind, classes, read = kinds[name]
    splits = read()
    return OpenDataset(
        name=name,
        kind=kind,
        classes=classes,
        digest=content_digest(splits),
        splits=splits,
        facts={
            "source_size": "1 mm slices of the 197x233x189 template",
            "source": "MNI152 template as shipped by nilearn",
            "splits": mni152_slices.SPLIT_RULE,
            "groups": "contiguous blocks of slices",
            "caution": f"{CAUTION}; {TEMPLATE}" if kind == "captions" else CAUTION,
            "notice": NOTICE,
        },
    )
