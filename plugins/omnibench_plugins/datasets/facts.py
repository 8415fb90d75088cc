"""What collections of published archives say about themselves, kept as data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from omnibench.cards import DataAccess, DatasetKind, DatasetSpec
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets.storage import PublishedFile


@dataclass(frozen=True, kw_only=True)
class ArchiveFacts:
    """One dataset of a collection of `.npz` archives on Zenodo.

    Args:
        flag: Its name in the collection, and ours.
        task: As the collection calls it: `binary`, `multi-class`, `multi-label, …`.
        classes: Class names in index order.
        channels: 1 (grey) or 3 (RGB).
        counts: Number of samples in train, val and test.
        modality: How the images were made.
        licence: As the collection states it.
        commercial: May it be used commercially, as far as the licence says.
        record: Number of the Zenodo record.
        md5: Published digest of each resolution in pixels.
        citation: Where the data were described.
    """

    flag: str
    task: str
    classes: tuple[str, ...]
    channels: int
    counts: tuple[int, int, int]
    modality: str
    licence: str
    commercial: bool | None
    record: str
    md5: Mapping[int, str]
    citation: str

    @property
    def multi_label(self) -> bool:
        """Targets hold several labels at once."""
        return self.task.startswith("multi-label")

    @property
    def record_url(self) -> str:
        """Page of the Zenodo record."""
        return f"https://zenodo.org/records/{self.record}"

    def files(self, collection: str, names: Mapping[int, str]) -> dict[int, PublishedFile]:
        """Return the published file of every resolution, given their names."""
        return {
            size: PublishedFile(
                collection=collection,
                filename=names[size],
                url=f"{self.record_url}/files/{names[size]}?download=1",
                md5=md5,
                licence=self.licence,
            )
            for size, md5 in self.md5.items()
        }

    def card(
        self,
        collection: str,
        kind: DatasetKind,
        open_set: Callable[[DataAccess], Dataset],
        places: Callable[[Path], Sequence[Path]],
    ) -> DatasetSpec:
        """Return the dataset's card.

        Args:
            collection: Name of the collection.
            kind: What the targets are.
            open_set: Opens it.
            places: Where its files would lie below a data root.
        """
        return DatasetSpec(
            name=self.flag,
            kind=kind,
            open=open_set,
            files=places,
            classes=self.classes,
            sizes=tuple(self.md5),
            split_sizes=self.counts,
            multi_label=self.multi_label,
            modality=self.modality,
            collection=collection,
            licence=self.licence,
            commercial=self.commercial,
            source_url=self.record_url,
            citation=self.citation,
        )


def read_facts(filename: str) -> tuple[ArchiveFacts, ...]:
    """Read a table of facts that lies beside this module."""
    text = resources.files(__package__).joinpath(filename).read_text(encoding="utf-8")
    return tuple(_parse(entry) for entry in json.loads(text)["sets"])


def _parse(entry: dict[str, Any]) -> ArchiveFacts:
    train, val, test = entry["counts"]
    return ArchiveFacts(
        **{
            **entry,
            "classes": tuple(entry["classes"]),
            "counts": (train, val, test),
            "md5": {int(size): md5 for size, md5 in entry["md5"].items()},
        }
    )
