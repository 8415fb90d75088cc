"""MedMNIST v2: the twelve 2D sets (Yang et al., Scientific Data 10:41, 2023).

The facts are those of medmnist 3.0.2; the package itself is not imported, since it loads torch.
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

COLLECTION = "medmnist"
DEFAULT_SIZE = 224  # pixels; what OmniRad's encoders take (Sec. 3.2)


def cards() -> list[DatasetSpec]:
    """Return one card a set."""
    return [_card(facts) for facts in read_facts("medmnist.json")]


def files(facts: ArchiveFacts) -> dict[int, PublishedFile]:
    """Return the published file of every resolution; the smallest carries no size."""
    names = {
        size: f"{facts.flag}.npz" if size == 28 else f"{facts.flag}_{size}.npz"
        for size in facts.md5
    }
    return facts.files(COLLECTION, names)


def open_set(facts: ArchiveFacts, access: DataAccess) -> Dataset:
    """Open one set at the wanted source size."""
    from omnibench_plugins.datasets.archive import archive_facts, open_splits
    from omnibench_plugins.datasets.arrays import OpenDataset

    size = access.source_size or DEFAULT_SIZE
    stored = fetch(files(facts), size, access)
    several = facts.multi_label
    splits = open_splits(
        stored,
        facts,
        size,
        target_key="labels",
        target_shape=(len(facts.classes) if several else 1,),
        decode=_all_labels if several else _one_label,
        highest=1 if several else len(facts.classes) - 1,
    )
    return OpenDataset(
        name=facts.flag,
        kind="labels",
        classes=facts.classes,
        digest=stored.sha256,
        splits=splits,
        facts=archive_facts(stored, facts, size),
    )


def _card(facts: ArchiveFacts) -> DatasetSpec:
    return facts.card(COLLECTION, "labels", partial(open_set, facts), partial(places, files(facts)))


def _one_label(raw: Array) -> Array:
    return raw[:, 0].astype("int64")


def _all_labels(raw: Array) -> Array:
    return raw.astype("uint8", copy=False)
