"""ROCOv2 as the hub has it: `data/{train,validation,test}-*.parquet` (extra `parquet`).

Columns, as the repository's card states them: `image` (its file as bytes), `image_id`, `caption`,
`cui` (a list). Rows stay on the disk; one row group of images is kept in memory, so that reading
in order touches each once.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from omnibench.cards import SPLITS, DataAccess
from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import Silent
from omnibench_plugins.datasets.arrays import Array, OpenDataset, frozen
from omnibench_plugins.datasets.folder.dataset import (
    duplicate_facts,
    require_sound,
    samples_digest,
    text,
)
from omnibench_plugins.datasets.folder.images import PIXEL_RULES, check, decode
from omnibench_plugins.datasets.folder.samples import Sample, listed

COLUMNS = ("image_id", "caption", "cui", "image")
PREFIXES = {"train": "train", "val": "validation", "test": "test"}
SHARD = re.compile(r".*-(\d+)-of-(\d+)\.parquet")


class Row(NamedTuple):
    """Where one image lies, what belongs to it, and the SHA-256 of its file."""

    file: Path
    row_group: int
    position: int
    sample: Sample
    sha256: str


@dataclass(frozen=True)
class ParquetSplit:
    """A split whose images stay on the disk (`ConceptSplit`).

    Args:
        rows: In the order of ids.
        ids: int64 [N]: positions among all sorted image ids.
    """

    rows: Sequence[Row]
    ids: Array
    groups: None = None

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.rows)

    def image(self, index: int) -> Array:
        """Image [H, W] or [H, W, 3]: uint8, or float32 in [0, 1]."""
        row = self.rows[index]
        data = _images(row.file, row.row_group)[row.position]
        return decode(data["bytes"], row.sample.image)

    def target(self, index: int) -> Any:
        """Captions, a tuple of one."""
        return self.rows[index].sample.target

    def concepts(self, index: int) -> tuple[str, ...]:
        """Codes of one image, sorted; empty where none was found."""
        return self.rows[index].sample.concepts or ()


def has_parquet(folder: Path) -> bool:
    """Tell whether there is any file of any split."""
    return any(next(folder.glob(f"{prefix}-*.parquet"), None) for prefix in PREFIXES.values())


def open_parquet(name: str, folder: Path, access: DataAccess) -> OpenDataset:
    """Open the files of a folder; every image is checked and digested once.

    Raises:
        SetupError: If pyarrow or a file is missing.
        IntegrityError: If files cannot be read or their rows contradict each other.
    """
    _pyarrow()
    files = {split: _shards(folder, prefix) for split, prefix in PREFIXES.items()}
    problems: list[str] = []
    progress = access.progress or Silent()
    progress.start("checking files", sum(map(len, files.values())))
    rows: list[Row] = []
    for split, paths in files.items():
        for path in paths:
            rows += _read(path, split, problems)
            progress.advance()
    rows.sort(key=lambda row: row.sample.image)
    problems += _contradictions(rows)
    require_sound(problems, folder)
    samples = [row.sample for row in rows]
    splits = [sample.split for sample in samples]
    shas = [row.sha256 for row in rows]
    opened = {}
    for split in SPLITS:
        chosen = [i for i, where in enumerate(splits) if where == split]
        ids = frozen(np.array(chosen, dtype=np.int64))
        opened[split] = ParquetSplit([rows[i] for i in chosen], ids)
    return OpenDataset(
        name=name,
        kind="captions",
        classes=(),
        digest=samples_digest(splits, None, shas, [text(sample) for sample in samples]),
        splits=opened,
        facts={
            "layout": "parquet of the hub",
            "concepts": "codes given with the captions",
            "splits": "given",
            "source_size": "native",
            "pixels": PIXEL_RULES,
            **duplicate_facts(samples, shas, splits),
        },
    )


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise SetupError("parquet needs pyarrow; pip install 'omnibench[parquet]'") from None
    return pyarrow


def _shards(folder: Path, prefix: str) -> list[Path]:
    """Return the files of one split, whose names tell how many there should be."""
    paths = sorted(folder.glob(f"{prefix}-*.parquet"))
    numbered = [match for path in paths if (match := SHARD.fullmatch(path.name))]
    present = {int(match[1]) for match in numbered}
    wanted = max((int(match[2]) for match in numbered), default=0 if paths else 1)
    if missing := set(range(wanted)) - present:
        raise SetupError(
            f"{folder} lacks {len(missing)} of {wanted} files of split {prefix}: numbers "
            f"{listed(f'{n:05d}' for n in missing)}; download them again"
        )
    return paths


def _read(path: Path, split: str, problems: list[str]) -> Iterator[Row]:
    """Yield the rows of a file; what is wrong goes to `problems`."""
    arrow = _pyarrow()
    unreadable, captionless = {}, []
    try:
        file = arrow.parquet.ParquetFile(path)
        lacking = [column for column in COLUMNS if column not in file.schema_arrow.names]
        if lacking:
            problems.append(
                f"{path.name} has no column {' or '.join(lacking)}: its columns are "
                f"{', '.join(file.schema_arrow.names)}"
            )
            return
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(COLUMNS)).to_pylist()
            for position, row in enumerate(table):
                key, data = str(row["image_id"]), (row["image"] or {}).get("bytes") or b""
                caption = (row["caption"] or "").strip()
                if not caption:
                    captionless.append(key)
                try:
                    check(data, key)
                except IntegrityError as error:
                    unreadable[key] = str(error)
                codes = tuple(sorted(set(row["cui"] or ())))
                sample = Sample(image=key, target=(caption,), split=split, concepts=codes)
                yield Row(path, group, position, sample, hashlib.sha256(data).hexdigest())
    except (arrow.ArrowException, OSError) as error:
        problems.append(f"{path.name} cannot be read as parquet ({error})")
    if captionless:
        problems.append(
            f"{path.name}: {len(captionless)} captions are empty: {listed(captionless)}"
        )
    if unreadable:
        problems.append(
            f"{path.name}: {len(unreadable)} images cannot be read: {listed(unreadable)}; the "
            f"first says: {unreadable[min(unreadable)]}"
        )


def _contradictions(rows: Sequence[Row]) -> Iterator[str]:
    """Say which ids stand more than once, and which of them in several splits."""
    where: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        where[row.sample.image].add(row.sample.split)
    if torn := [key for key, splits in where.items() if len(splits) > 1]:
        yield f"{len(torn)} ids are in more than one split: {listed(torn)}"
    number = Counter((row.sample.image, row.sample.split) for row in rows)
    if twice := {key for (key, _), n in number.items() if n > 1}:
        yield f"{len(twice)} ids stand more than once: {listed(twice)}"


@lru_cache(maxsize=2)
def _images(file: Path, row_group: int) -> list[dict[str, bytes]]:
    """Return the image column of one row group."""
    table = _pyarrow().parquet.ParquetFile(file).read_row_group(row_group, columns=["image"])
    images: list[dict[str, bytes]] = table.column("image").to_pylist()
    return images
