"""The prefix `folder:PATH`: a card made from a look at the folder."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path

from omnibench.cards import DataAccess, DatasetPrefix, DatasetSpec
from omnibench.errors import SetupError, UsageError
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets.folder.layouts import recognise
from omnibench_plugins.datasets.folder.samples import images_below

SLUG_LENGTH = 40


def prefix() -> DatasetPrefix:
    """Return the prefix with its summary."""
    return DatasetPrefix(
        prefix="folder",
        make=make,
        summary="your own PNG, JPEG or DICOM images with captions, masks, labels or none",
    )


def make(path: str) -> DatasetSpec:
    """Return the card of a folder, whose kind is what lies in it.

    Raises:
        UsageError: If no path is given.
        SetupError: If there is no such folder, or nothing in it that is understood.
    """
    if not path.strip():
        raise UsageError("folder: takes a path, e.g. --dataset folder:my-images")
    try:
        root = Path(path).expanduser().resolve()
        kind, read = recognise(root)
        name = shown_name(root)
    except (OSError, RuntimeError) as error:  # no permission, no such home, links in a circle
        raise SetupError(f"folder:PATH cannot be read: {error}") from None
    return DatasetSpec(
        name=name,
        kind=kind,
        open=partial(_open, name, root),
        collection="folder",
        licence="the owner's",
        options=("label_column", "group_column"),
        notes=f"laid out as {read.__name__.removeprefix('read_').replace('_', ' ')}",
    )


def shown_name(root: Path) -> str:
    """Return `folder-<slug>-<digest8>`: the last path component and a digest of the listing.

    The listing (names and sizes of images) tells two folders of one name apart without reading
    them; what they hold is told by the dataset's own digest.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")[:SLUG_LENGTH].strip("-")
    listing = hashlib.sha256()
    for image in images_below(root):
        listing.update(f"{image}\n{(root / image).stat().st_size}\n".encode())
    return f"folder-{slug or 'data'}-{listing.hexdigest()[:8]}"


def _open(name: str, root: Path, access: DataAccess) -> Dataset:
    from omnibench_plugins.datasets.folder.dataset import open_folder

    return open_folder(name, root, access)
