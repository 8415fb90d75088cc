"""RadImageNet as its authors lay it out (Mei et al., Radiology: AI 4(5):e210315, 2022).

    ROOT/RadiologyAI_{train,val,test}.csv          columns filename, label
    ROOT/radiology_ai/{CT,MR}/<anatomy>/<label>/<name>.png
    ROOT/radiology_ai/US/<label>/<name>.png        no level for the anatomy

The class is the table's `label`: folder names repeat across anatomies. No table names patients, so
nobody can check that a patient is in one split only.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from omnirad.data.files import FileSource
from omnirad.data.sources import TRAIN, Sample, listed
from omnirad.data.specs import SPLITS
from omnirad.errors import DataError, SetupError

log = logging.getLogger(__name__)

NAME = "radimagenet"
FOLDER = "radiology_ai"
COLUMNS = ("filename", "label")
DEPTH = {"CT": 5, "MR": 5, "US": 4}  # parts of a path; CT and MR have an anatomy
PUBLISHED_TOTAL = 1_350_000  # OmniRad, Table 2; the real count differs a little
TOLERANCE = 0.01
HOW_TO_GET = (
    "RadImageNet is given on request: ask at https://www.radimagenet.com, accept the agreement, "
    "unpack radiology_ai.zip, and put RadiologyAI_train.csv, RadiologyAI_val.csv and "
    "RadiologyAI_test.csv (linked from https://github.com/BMEII-AI/RadImageNet) beside the folder "
    "radiology_ai"
)


def open_radimagenet(root: Path, splits: Sequence[str] = TRAIN) -> FileSource:
    """Return the images of some splits, in the order of the tables; logs the true counts.

    Raises:
        SetupError: If folder or tables are missing; says how to get them.
        DataError: If a table has other columns or paths, or names images that are not there.
    """
    samples = [sample for split in splits for sample in read_split(root, split)]
    twice = [name for name, count in Counter(s.id for s in samples).items() if count > 1]
    if twice:
        raise DataError(
            f"the tables of {root} name {len(twice)} images more than once: {listed(twice)}"
        )
    _refuse_missing(root, samples)
    read = Counter(sample.split for sample in samples)
    counts = {
        split: read[split] or len(read_table(root, split)) for split in SPLITS if table(root, split)
    }
    report, as_published = counts_report(counts)
    log.log(logging.INFO if as_published else logging.WARNING, report)
    return FileSource(NAME, root, samples)


def read_split(root: Path, split: str) -> list[Sample]:
    """Return the samples of one table, without looking for the images.

    Raises:
        SetupError: If folder or table are missing.
        DataError: If columns, paths or labels are not as published.
    """
    rows = read_table(root, split)
    strange = [name for name, _ in rows if not _fits(name.split("/"))]
    if strange:
        raise DataError(
            f"RadiologyAI_{split}.csv: {len(strange)} of {len(rows)} paths are not "
            f"{FOLDER}/{{CT,MR}}/<anatomy>/<label>/<file> or {FOLDER}/US/<label>/<file>: "
            f"{listed(strange)}"
        )
    unlabelled = [name for name, label in rows if not label]
    if unlabelled:
        raise DataError(
            f"RadiologyAI_{split}.csv: {len(unlabelled)} images have no label: {listed(unlabelled)}"
        )
    return [_sample(name, label, split) for name, label in rows]


def read_table(root: Path, split: str) -> list[tuple[str, str]]:
    """Return (filename, label) of every row of a table.

    Raises:
        SetupError: If folder or table are missing.
        DataError: If it has other columns or is no table.
    """
    path = table(root, split)
    if path is None or not (root / FOLDER).is_dir():
        what = f"no RadiologyAI_{split}.csv" if path is None else f"no folder {FOLDER}"
        raise SetupError(f"{root} has {what}. {HOW_TO_GET}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [column.strip() for column in next(reader, [])]
            missing = [column for column in COLUMNS if column not in header]
            if missing:
                raise DataError(
                    f"{path.name} has no column {' and no column '.join(missing)}; it has "
                    f"{', '.join(header) or 'none'}; filename and label were expected"
                )
            name, label = map(header.index, COLUMNS)
            # Cells that a short line lacks are empty, and refused as such by who reads them.
            lines = (line + [""] * len(header) for line in reader if line)
            rows = [(line[name].strip(), line[label].strip()) for line in lines]
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no CSV table in UTF-8 ({error})") from None
    if not rows:
        raise DataError(f"{path.name} has no rows; get it again")
    return rows


def table(root: Path, split: str) -> Path | None:
    """Return where the table of a split lies, or None: beside the folder, or in it."""
    name = f"RadiologyAI_{split}.csv"
    return next((p for p in (root / name, root / FOLDER / name) if p.is_file()), None)


def counts_report(counts: Mapping[str, int]) -> tuple[str, bool]:
    """Return what the tables hold in one sentence, and whether that is what was published."""
    total = sum(counts.values())
    found = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    if set(counts) != set(SPLITS):
        missing = " and ".join(split for split in SPLITS if split not in counts)
        return f"RadImageNet: {found}; no table of {missing}, so the total is unknown", True
    close = abs(total - PUBLISHED_TOTAL) <= TOLERANCE * PUBLISHED_TOTAL
    return (
        f"RadImageNet: {found}, together {total:,}; published are {PUBLISHED_TOTAL:,} "
        f"({'within' if close else 'NOT within'} {TOLERANCE:.0%})"
    ), close


def _sample(name: str, label: str, split: str) -> Sample:
    parts = name.split("/")
    modality = parts[1]
    anatomy = parts[2] if DEPTH[modality] == DEPTH["CT"] else ""
    return Sample(
        id=name, source=NAME, modality=modality, anatomy=anatomy, label=label, split=split
    )


def _fits(parts: Sequence[str]) -> bool:
    return (
        len(parts) > 1
        and parts[0] == FOLDER
        and len(parts) == DEPTH.get(parts[1])
        and not {"", ".", ".."}.intersection(parts)
    )


def _refuse_missing(root: Path, samples: Iterable[Sample]) -> None:
    """Compare tables with folders; one listing a folder is cheaper than a look at every file."""
    wanted: dict[str, set[str]] = {}
    for sample in samples:
        folder, _, file = sample.id.rpartition("/")
        wanted.setdefault(folder, set()).add(file)
    missing = [
        f"{folder}/{file}"
        for folder, files in wanted.items()
        for file in files - _files_in(root / folder)
    ]
    if missing:
        total = sum(map(len, wanted.values()))
        raise DataError(
            f"{len(missing)} of {total} images in the tables are not below {root}: "
            f"{listed(missing)}; unpack radiology_ai.zip completely"
        )


def _files_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
