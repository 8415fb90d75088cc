"""ROCOv2: radiology figures with captions (Rückert et al., Scientific Data 11:688, 2024).

Below `<data root>/rocov2` lie either the publisher's files, `{train,valid,test}_captions.csv` and
`_concepts.csv` with a folder of images each, or the hub's, `data/*.parquet`, which OmniRad's code
reads. Both are several gigabytes and are not downloaded for you.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omnibench.cards import SPLITS, DataAccess, DatasetSpec
from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import Dataset

if TYPE_CHECKING:
    from omnibench_plugins.datasets.arrays import OpenDataset

COLLECTION = "rocov2"
COUNTS = (59958, 9904, 9927)  # OmniRad, Table 2
HUB_COUNTS = (59962, 9904, 9927)  # the repository's card
PAPER = "https://doi.org/10.1038/s41597-024-03496-6"
REPOSITORY = "eltorio/ROCOv2-radiology"


def cards() -> list[DatasetSpec]:
    """Return the card."""
    return [
        DatasetSpec(
            name="rocov2",
            kind="captions",
            open=open_set,
            files=lambda root: [root / COLLECTION],
            split_sizes=COUNTS,
            modality="several",
            collection=COLLECTION,
            licence="CC BY or CC BY-NC, image by image; hub: CC BY-NC-SA 4.0",
            commercial=False,
            source_url=PAPER,
            citation="10.1038/s41597-024-03496-6",
        )
    ]


def open_set(access: DataAccess) -> Dataset:
    """Open whichever files are there and check the number of samples; no digest is published."""
    root = access.root / COLLECTION
    tables = [root / f"{name}_captions.csv" for name in ("train", "valid", "test")]
    missing = [table.name for table in tables if not table.is_file()]
    if not missing:
        from omnibench_plugins.datasets.folder.dataset import open_folder

        return _counted(open_folder("rocov2", root, access, official=True), COUNTS, access)
    from omnibench_plugins.datasets.rocov2_parquet import has_parquet, open_parquet

    if has_parquet(root / "data"):
        return _counted(open_parquet("rocov2", root / "data", access), HUB_COUNTS, access)
    raise SetupError(
        f"{root} lacks {', '.join(missing)} and data/*.parquet; get the hub's files (18.6 GB) "
        f"with `hf download {REPOSITORY} --repo-type dataset --include 'data/*.parquet' "
        f"--local-dir {root}`, or the publisher's from {PAPER} and unpack captions, concepts and "
        "the folders train, valid and test there"
    )


def _counted(dataset: OpenDataset, counts: tuple[int, int, int], access: DataAccess) -> OpenDataset:
    """Refuse a dataset with other numbers of samples, or mark it where that is allowed."""
    found = tuple(len(dataset.split(split)) for split in SPLITS)
    if found == counts:
        return dataset
    if not access.allow_unverified:
        raise IntegrityError(
            f"this is not all of ROCOv2: it has {found} captioned images, {counts} were expected; "
            "use it as it is with --allow-unverified-data, which marks every record"
        )
    return replace(dataset, facts={**dataset.facts, "unverified": "true"})
