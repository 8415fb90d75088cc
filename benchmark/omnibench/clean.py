"""`clean:NAME`: a dataset without the samples whose image an earlier split already shows.

Train keeps everything; validation loses what train shows, test what train or validation shows: the
first would help training, the second the choice of an epoch. Importing this never imports numpy.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from omnibench.cards import DataAccess, DatasetSpec, DatasetVariant, check_name
from omnibench.errors import IntegrityError
from omnibench.hookspecs import hookimpl
from omnibench.interfaces import Dataset, Split
from omnibench.subset import Derived, at_positions

log = logging.getLogger(__name__)

PREFIX = "clean"
KEPT = 10 * 10**9  # bytes of thumbnails and scores in the cache


@hookimpl
def omnibench_datasets() -> list[DatasetVariant]:
    """Return the variant."""
    return [
        DatasetVariant(
            prefix=PREFIX,
            make=cleaned,
            summary="any of these without val and test images that an earlier split shows too",
        )
    ]


def cleaned(card: DatasetSpec) -> DatasetSpec:
    """Return the card of a dataset's clean variant; its sizes are known once it is opened."""
    name = f"{card.name}-{PREFIX}"
    check_name(name, "dataset")
    return replace(
        card,
        name=name,
        open=partial(open_clean, card, name),
        split_sizes=None,
        views=tuple(cleaned(view) for view in card.views),
    )


def open_clean(card: DatasetSpec, name: str, access: DataAccess) -> Dataset:
    """Open a dataset, look for images that occur twice, and leave out the later ones.

    Raises:
        IntegrityError: If nothing is left of a split.
    """
    from omnibench.audit import leaks
    from omnibench.audit.duplicates import METHOD
    from omnibench.features.cache import FeatureStore

    original = card.open(access)
    store = FeatureStore(access.cache / "audit", KEPT) if access.cache else None
    removed = leaks(original, store=store, progress=access.progress)
    counts = {
        split: f"{len(ids)} of {len(original.split(split))}" for split, ids in removed.items()
    }
    for split, ids in removed.items():
        if ids and len(ids) == len(original.split(split)):
            raise IntegrityError(
                f"{PREFIX}:{card.name} has no {split} images: an earlier split shows all "
                f"{len(ids)}; `omnibench audit` shows them"
            )
    told = f"{counts['val']} val and {counts['test']} test images"
    if any(removed.values()):
        log.info("%s: left out %s that an earlier split shows too", name, told)
    else:
        log.warning("%s: nothing to leave out, the images are those of %s", name, card.name)
    return CleanDataset(dataset=original, name=name, removed=removed, method=METHOD, told=told)


@dataclass(frozen=True, kw_only=True)
class CleanDataset(Derived):
    """A dataset without some samples of val and test; ids are the original's.

    Args:
        dataset: The whole one.
        name: Of the variant.
        removed: Ids that are left out, by split.
        method: Version of the search that named them.
        told: How many there are, in words.
    """

    name: str
    removed: Mapping[str, tuple[int, ...]]
    method: str
    told: str

    @property
    def digest(self) -> str:
        """Digest over the original's content, what is left out, and the search that named it."""
        parts = [self.dataset.digest, self.method, {k: list(v) for k, v in self.removed.items()}]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts of the original, and what is left out."""
        told = f"left out {self.told} that an earlier split shows too ({self.method})"
        return {**self.dataset.facts, "clean": told}

    def split(self, name: str) -> Split:
        """Return a split without what is left out of it."""
        import numpy as np

        split = self.dataset.split(name)
        if not self.removed.get(name):
            return split
        return at_positions(split, np.flatnonzero(~np.isin(split.ids, self.removed[name])))
