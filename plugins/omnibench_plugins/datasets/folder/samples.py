"""What the layouts of a folder have in common: samples, and finding files by name."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from omnibench.cards import DatasetKind
from omnibench.errors import IntegrityError, SetupError, UsageError, suggestion

STANDARD = (".png", ".jpg", ".jpeg")
DICOM = (".dcm", ".dicom")
HIDDEN = (".", "__MACOSX")
SHOWN = 3  # names an error message lists
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}

Options = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of a folder and what belongs to it; paths are relative, with slashes.

    Args:
        image: Path of the image.
        target: Class name, path of a mask, captions, or None.
        split: Given split, or empty.
        group: Given group, or empty.
        concepts: Codes of what it shows, or None where unknown.
    """

    image: str
    target: str | tuple[str, ...] | None = None
    split: str = ""
    group: str = ""
    concepts: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A folder as it was understood; `problems` say what is wrong with it, if anything."""

    kind: DatasetKind
    samples: Sequence[Sample]
    facts: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def images_below(root: Path, folder: str = "") -> list[str]:
    """Return the images below `root/folder`, relative to `root`, sorted; hidden ones left out.

    Links to folders are followed, each folder once.
    """
    found: list[str] = []
    seen: set[Path] = set()
    for where, folders, files in os.walk(root / folder, followlinks=True):
        place = Path(where)
        if place.resolve() in seen:
            folders.clear()
            continue
        seen.add(place.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        below = place.relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [
            prefix + name
            for name in files
            if name.lower().endswith(STANDARD + DICOM) and not name.startswith(HIDDEN)
        ]
    return sorted(found)


class Lookup:
    """Finds images by relative path or by name without suffix; never leaves the folder."""

    def __init__(self, images: Iterable[str], below: str = "") -> None:
        """Index `images`; paths looked for may be relative to the folder `below` too."""
        self._by_key: dict[str, set[str]] = {}
        for image in images:
            path = PurePosixPath(image)
            inner = path.relative_to(below)
            for key in {image, str(inner), str(inner.with_suffix("")), path.name, path.stem}:
                self._by_key.setdefault(key, set()).add(image)

    def find(self, key: str) -> str | None:
        """Return the image that `key` names, or None.

        Raises:
            IntegrityError: If it names several.
        """
        found = self._by_key.get(key, set())
        if len(found) > 1:
            raise IntegrityError(
                f"{key!r} could be any of {listed(found)}; give paths with their folder"
            )
        return next(iter(found), None)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header line; absent cells are empty texts.

    Raises:
        SetupError: If it cannot be read.
        IntegrityError: If it is no table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [
                {(key or "").strip(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(stream, restval="")
            ]
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(f"{path} is no CSV file in UTF-8 ({error})") from None
    if not rows:
        raise IntegrityError(f"{path} has no rows; a header line and one line an image expected")
    return rows


def require_column(rows: Sequence[Mapping[str, str]], column: str, option: str) -> None:
    """Raise `UsageError` unless the table has the column."""
    if column not in rows[0]:
        raise UsageError(
            f"--set {option}={column}: there is no such column.{suggestion(column, rows[0])} "
            f"Columns are {', '.join(rows[0])}"
        )


def refuse_label_column(options: Options) -> None:
    """Raise `UsageError` if a label column is asked for where targets are something else."""
    if "label_column" in options:
        raise UsageError("label_column is for folders with metadata.csv and no other targets")


def listed(names: Iterable[str]) -> str:
    """Return the first few names and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more
