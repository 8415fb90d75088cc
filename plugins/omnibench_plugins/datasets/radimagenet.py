"""RadImageNet: 165 classes of CT, MR and ultrasound (Mei et al., Radiology: AI 4(5), 2022).

The images OmniRad is pretrained on, here with labels, for probes. They are given on request only;
the layout below `<data root>/radimagenet` is its authors' (see `omnirad.data.radimagenet`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnibench.cards import SPLITS, DataAccess, DatasetSpec
from omnibench.errors import IntegrityError
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets.borrowed import errors_translated

if TYPE_CHECKING:
    from omnibench_plugins.datasets.arrays import Array
    from omnirad.data.files import FileSource

COLLECTION = "radimagenet"
COUNTS = (1_080_000, 135_000, 135_000)  # OmniRad, Table 2: rounded, the tables differ a little
CAUTION = "no table names patients, so one patient may be in several splits"


def cards() -> list[DatasetSpec]:
    """Return the card; its classes are known once its tables are read."""
    return [
        DatasetSpec(
            name="radimagenet",
            kind="labels",
            open=open_set,
            files=lambda root: [root / COLLECTION],
            split_sizes=COUNTS,
            modality="CT, MRI, ultrasound",
            collection=COLLECTION,
            licence="by agreement, on request",
            source_url="https://www.radimagenet.com",
            citation="10.1148/ryai.210315",
            notes=f"OmniRad was pretrained on its training images; {CAUTION}",
        )
    ]


@dataclass(frozen=True)
class RadImageNetSplit:
    """One official split; images stay on the disk.

    Args:
        source: The files, in the order of ids.
        ids: Positions among all sorted paths, int64 [N].
        labels: Class indices, int64 [N].
    """

    source: FileSource
    ids: Array
    labels: Array
    groups: None = None  # patients are not named

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.ids)

    def image(self, index: int) -> Array:
        """Image [H, W] or [H, W, 3], uint8."""
        with errors_translated():
            return self.source.image(index)

    def target(self, index: int) -> int:
        """Class index."""
        return int(self.labels[index])


def open_set(access: DataAccess) -> Dataset:
    """Read the three tables and check that every image is there.

    Raises:
        SetupError: If folder or tables are missing; says how to get them.
        IntegrityError: If tables and images do not fit, or this is not all of RadImageNet.
    """
    import numpy as np

    from omnibench_plugins.datasets.arrays import OpenDataset, frozen
    from omnirad.data import radimagenet
    from omnirad.data.files import FileSource

    root = access.root / COLLECTION
    with errors_translated():
        source = radimagenet.open_radimagenet(root, SPLITS)
    samples = sorted(source.samples, key=lambda sample: sample.id)
    classes = tuple(sorted({sample.label for sample in samples}))
    indices = {label: index for index, label in enumerate(classes)}
    splits = {}
    for split in SPLITS:
        chosen = [i for i, sample in enumerate(samples) if sample.split == split]
        splits[split] = RadImageNetSplit(
            source=FileSource(source.name, root, [samples[i] for i in chosen]),
            ids=frozen(np.array(chosen, dtype=np.int64)),
            labels=frozen(np.array([indices[samples[i].label] for i in chosen], dtype=np.int64)),
        )
    report, as_published = radimagenet.counts_report({s: len(splits[s]) for s in SPLITS})
    if not as_published and not access.allow_unverified:
        raise IntegrityError(
            f"{report}: this is not all of RadImageNet; use it as it is with "
            "--allow-unverified-data, which marks every record"
        )
    return OpenDataset(
        name="radimagenet",
        kind="labels",
        classes=classes,
        digest=_digest(source),
        splits=splits,
        facts={
            "source_size": "native",
            "splits": "official",
            "counts": report,
            "digest": "over tables and file sizes, not over pixels",
            "caution": CAUTION,
            **({} if as_published else {"unverified": "true"}),
        },
    )


def _digest(source: FileSource) -> str:
    """Return the SHA-256 over split, label, path and size of every image.

    The pixels are left out: reading more than a million files takes longer than many a probe.
    """
    digest = hashlib.sha256()
    for sample in sorted(source.samples, key=lambda sample: sample.id):
        size = (source.root / sample.id).stat().st_size
        digest.update(f"{sample.split}\x1f{sample.label}\x1f{sample.id}\x1f{size}\n".encode())
    return digest.hexdigest()
