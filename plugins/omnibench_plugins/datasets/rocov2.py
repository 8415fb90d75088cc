"""ROCOv2: radiology figures with captions (Rückert et al., Scientific Data 11:688, 2024).

Laid out by its publisher as `{train,valid,test}_captions.csv` with a folder of images each, below
`<data root>/rocov2`. Its archives are several gigabytes and are not downloaded for you.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import SPLITS, DataAccess, Dataset, DatasetSpec

if TYPE_CHECKING:
    from omnibench_plugins.datasets.arrays import OpenDataset

COLLECTION = "rocov2"
COUNTS = (59958, 9904, 9927)  # OmniRad, Table 2
PAPER = "https://doi.org/10.1038/s41597-024-03496-6"


def cards() -> list[DatasetSpec]:
    """Return the card."""
    return [
        DatasetSpec(
            name="rocov2",
            kind="captions",
            open=open_set,
            split_sizes=COUNTS,
            modality="several",
            collection=COLLECTION,
            licence="Creative Commons, stated image by image in license_information.csv",
            source_url=PAPER,
            citation="10.1038/s41597-024-03496-6",
        )
    ]


def open_set(access: DataAccess) -> Dataset:
    """Open the folder and check the number of samples; no digest of it is published."""
    from omnibench_plugins.datasets.folder.dataset import open_folder

    root = access.root / COLLECTION
    tables = [root / f"{name}_captions.csv" for name in ("train", "valid", "test")]
    missing = [table.name for table in tables if not table.is_file()]
    if missing:
        raise SetupError(
            f"{root} lacks {', '.join(missing)}; get ROCOv2 from {PAPER} and unpack its captions "
            "and its folders train, valid and test there"
        )
    return _counted(open_folder("rocov2", root, access), access)


def _counted(dataset: OpenDataset, access: DataAccess) -> OpenDataset:
    """Refuse a dataset with other numbers of samples, or mark it where that is allowed."""
    found = tuple(len(dataset.split(split)) for split in SPLITS)
    if found == COUNTS:
        return dataset
    if not access.allow_unverified:
        raise IntegrityError(
            f"this is not all of ROCOv2: it has {found} captioned images, {COUNTS} were expected; "
            "use it as it is with --allow-unverified-data, which marks every record"
        )
    return replace(dataset, facts={**dataset.facts, "unverified": "true"})
