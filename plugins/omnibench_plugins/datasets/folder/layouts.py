"""Five ways to lay out a folder, recognised in a fixed order from what is on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from omnibench.cards import SPLITS, DatasetKind
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench_plugins.datasets.folder.captions import caption_tables, read_captions
from omnibench_plugins.datasets.folder.samples import (
    SPLIT_FOLDERS,
    Layout,
    Lookup,
    Options,
    Sample,
    images_below,
    listed,
    read_table,
    refuse_label_column,
    require_column,
)

log = logging.getLogger(__name__)

ID_COLUMNS = ("image", "image_id", "id", "file", "filename", "file_name", "path", "image_path")


class Recognised(NamedTuple):
    """A kind of layout and how to read it."""

    kind: DatasetKind
    read: Callable[[Path, Options], Layout]


def recognise(root: Path) -> Recognised:
    """Tell how a folder is laid out, without opening an image.

    Raises:
        SetupError: If there is no such folder, or nothing in it that is understood.
    """
    if not root.is_dir():
        raise SetupError(f"there is no folder {root}; folder:PATH takes an existing folder")
    if caption_tables(root):
        return Recognised("captions", read_captions)
    if _has_masks(root):
        return Recognised("masks", read_masks)
    if (root / "train").is_dir():
        kind: DatasetKind = "masks" if _has_masks(root / "train") else "labels"
        return Recognised(kind, read_split_folders)
    if (root / "metadata.csv").is_file():
        return Recognised("labels", read_metadata)
    if not images_below(root):
        raise SetupError(f"{root} holds no PNG, JPEG or DICOM image (.png .jpg .jpeg .dcm .dicom)")
    if len(_class_folders(root)) > 1:
        return Recognised("labels", read_class_folders)
    return Recognised("images", read_images)


def read_masks(root: Path, options: Options) -> Layout:
    """Read `images/` and `masks/`, paired by path without suffix."""
    samples = _with_groups(root, _paired(root, ""), options)
    return Layout(kind="masks", samples=samples, facts={"layout": "images and masks"})


def read_split_folders(root: Path, options: Options) -> Layout:
    """Read `train/`, `val/` and `test/`, each with class folders or with images and masks."""
    masks = _has_masks(root / "train")
    samples: list[Sample] = []
    for split in SPLITS:
        folder = next((n for n in SPLIT_FOLDERS[split] if (root / n).is_dir()), None)
        if folder is None:
            raise SetupError(
                f"{root} has a train folder but no {' or '.join(SPLIT_FOLDERS[split])} folder; "
                "add it, or put all images in class folders to have them split"
            )
        of_split = _paired(root, folder) if masks else _in_class_folders(root, folder)
        samples += [replace(sample, split=split) for sample in of_split]
    samples = _with_groups(root, samples, options)
    return Layout(
        kind="masks" if masks else "labels", samples=samples, facts={"layout": "split folders"}
    )


def read_metadata(root: Path, options: Options) -> Layout:
    """Read `metadata.csv`: an image column, the label column, perhaps groups and splits."""
    rows = read_table(root / "metadata.csv")
    if "label_column" not in options:
        raise UsageError(
            f"metadata.csv: say which column holds the label, --set label_column=NAME; "
            f"columns are {', '.join(rows[0])}"
        )
    column = options["label_column"]
    require_column(rows, column, "label_column")
    id_column = _id_column(rows[0])
    labels = {row[id_column]: row for row in rows}
    if len(labels) < len(rows):
        raise IntegrityError(f"metadata.csv names {len(rows) - len(labels)} images more than once")
    unlabelled = [key for key, row in labels.items() if not row[column]]
    if unlabelled:
        raise IntegrityError(
            f"metadata.csv has no {column} for {len(unlabelled)} images: {listed(unlabelled)}; "
            "remove these lines"
        )
    everything = images_below(root)
    found = _find_all(Lookup(everything), list(labels), "metadata.csv")
    if len(everything) > len(found):
        log.warning("%d images are not in metadata.csv and left out", len(everything) - len(found))
    groups = _groups_of(rows, id_column, options)
    samples = [
        Sample(
            image=found[key],
            target=row[column],
            split=_given_split(row.get("split", "")),
            group=groups.get(key, ""),
        )
        for key, row in labels.items()
    ]
    return Layout(kind="labels", samples=samples, facts={"layout": "metadata table"})


def read_class_folders(root: Path, options: Options) -> Layout:
    """Read one folder a class."""
    samples = _with_groups(root, _in_class_folders(root, ""), options)
    return Layout(kind="labels", samples=samples, facts={"layout": "class folders"})


def read_images(root: Path, options: Options) -> Layout:
    """Read images without targets, of use for pretraining."""
    samples = _with_groups(root, [Sample(image=image) for image in images_below(root)], options)
    return Layout(kind="images", samples=samples, facts={"layout": "images only"})


def _has_masks(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _paired(root: Path, folder: str) -> list[Sample]:
    """Return images and masks of equal path without suffix."""
    images, masks = (
        _by_stem(root, str(PurePosixPath(folder, name))) for name in ("images", "masks")
    )
    for some, others, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = some.keys() - others.keys()
        if alone:
            raise IntegrityError(
                f"{len(alone)} of {len(some)} {'images' if what == 'mask' else 'masks'} in "
                f"{folder or root.name} have no {what} of the same name: {listed(alone)}"
            )
    return [Sample(image=images[stem], target=masks[stem]) for stem in sorted(images)]


def _by_stem(root: Path, folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for image in images_below(root, folder):
        stem = str(PurePosixPath(image).relative_to(folder).with_suffix(""))
        if stem in found:
            raise IntegrityError(f"{folder} has both {found[stem]} and {image}; keep one")
        found[stem] = image
    return found


def _class_folders(folder: Path) -> list[str]:
    """Return the names of subfolders that hold images."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and images_below(path)
    )


def _in_class_folders(root: Path, folder: str) -> list[Sample]:
    return [
        Sample(image=image, target=name)
        for name in _class_folders(root / folder)
        for image in images_below(root, str(PurePosixPath(folder, name)))
    ]


def _with_groups(root: Path, samples: list[Sample], options: Options) -> list[Sample]:
    """Add the groups that metadata.csv gives, where a group column is asked for."""
    refuse_label_column(options)
    if "group_column" not in options:
        return samples
    if not (root / "metadata.csv").is_file():
        raise UsageError(f"group_column needs a table {root / 'metadata.csv'}")
    rows = read_table(root / "metadata.csv")
    id_column = _id_column(rows[0])
    groups = _groups_of(rows, id_column, options)
    lookup = Lookup(sample.image for sample in samples)
    of_image = {lookup.find(key): group for key, group in groups.items()}
    without = [sample.image for sample in samples if not of_image.get(sample.image)]
    if without:
        raise IntegrityError(
            f"metadata.csv has no {options['group_column']} for {len(without)} images: "
            f"{listed(without)}"
        )
    return [replace(sample, group=of_image[sample.image]) for sample in samples]


def _groups_of(rows: list[dict[str, str]], id_column: str, options: Options) -> dict[str, str]:
    """Return the group of each id, nothing if no group column is asked for."""
    column = options.get("group_column")
    if column is None:
        return {}
    require_column(rows, column, "group_column")
    without = [row[id_column] for row in rows if not row[column]]
    if without:
        raise IntegrityError(
            f"column {column} is empty for {len(without)} images: {listed(without)}"
        )
    return {row[id_column]: row[column] for row in rows}


def _id_column(row: Mapping[str, str]) -> str:
    """Return the column that names images: a usual name, else the first."""
    return next((column for column in row if column.lower() in ID_COLUMNS), next(iter(row)))


def _given_split(text: str) -> str:
    for split, names in SPLIT_FOLDERS.items():
        if text.lower() in names:
            return split
    if text:
        raise IntegrityError(
            f"metadata.csv has a split {text!r}; train, val and test were expected"
        )
    return ""


def _find_all(images: Lookup, keys: list[str], table: str) -> dict[str, str]:
    """Return the image of every key of a table."""
    found = {key: images.find(key) for key in keys}
    missing = [key for key, image in found.items() if image is None]
    if missing:
        raise IntegrityError(
            f"{table} names {len(missing)} of {len(keys)} images that are not in the folder: "
            f"{listed(missing)}"
        )
    return {key: image for key, image in found.items() if image is not None}
