"""MedSegBench: 35 sets of images and masks (Kuş and Aydin, Scientific Data 11:1283, 2024).

The facts are those of medsegbench 1.0.0; a few of its sets lie in a second Zenodo record.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from omnibench.cards import DataAccess, DatasetSpec
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets.facts import ArchiveFacts, read_facts
from omnibench_plugins.datasets.storage import PublishedFile, fetch, places

if TYPE_CHECKING:
    from omnibench_plugins.datasets.arrays import Array

COLLECTION = "medsegbench"
DEFAULT_SIZE = 512  # pixels; the collection's own default


def cards() -> list[DatasetSpec]:
    """Return one card a set."""
    return [_card(facts) for facts in read_facts("medsegbench.json")]


def files(facts: ArchiveFacts) -> dict[int, PublishedFile]:
    """Return the published file of every resolution."""
    return facts.files(COLLECTION, {size: f"{facts.flag}_{size}.npz" for size in facts.md5})


def open_set(facts: ArchiveFacts, access: DataAccess) -> Dataset:
    """Open one set at the wanted source size, with one fixed map from values to classes."""
    from omnibench_plugins.datasets.archive import archive_facts, open_splits
    from omnibench_plugins.datasets.arrays import OpenDataset

    size = access.source_size or DEFAULT_SIZE
    stored = fetch(files(facts), size, access)
    binary = facts.task == "binary"
    splits = open_splits(
        stored,
        facts,
        size,
        target_key="label",
        target_shape=(size, size),
        decode=_foreground if binary else _class_indices,
        highest=255 if binary else len(facts.classes) - 1,
    )
    rule = "any value above 0 is class 1" if binary else "values are class indices"
    return OpenDataset(
        name=facts.flag,
        kind="masks",
        classes=facts.classes,
        digest=stored.sha256,
        splits=splits,
        facts=archive_facts(stored, facts, size) | {"label_map": rule},
    )


def _card(facts: ArchiveFacts) -> DatasetSpec:
    return facts.card(COLLECTION, "masks", partial(open_set, facts), partial(places, files(facts)))


def _foreground(raw: Array) -> Array:
    """Return 1 where a mask is not 0: some binary sets number their objects (pandental)."""
    return (raw > 0).view("uint8")


def _class_indices(raw: Array) -> Array:
    return raw.astype("uint8", copy=False)
