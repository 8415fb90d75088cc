"""Open a folder: every file is checked and digested once, then images are read one by one."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnibench.cards import SPLITS, DataAccess
from omnibench.errors import IntegrityError
from omnibench.interfaces import Silent
from omnibench_plugins.datasets.arrays import Array, OpenDataset, frozen
from omnibench_plugins.datasets.digests import digests
from omnibench_plugins.datasets.folder import splitting
from omnibench_plugins.datasets.folder.images import PIXEL_RULES, image_size, read_image
from omnibench_plugins.datasets.folder.layouts import recognise
from omnibench_plugins.datasets.folder.masks import MaskMap, survey
from omnibench_plugins.datasets.folder.samples import DICOM, Layout, Sample, listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderSplit:
    """A split whose images stay on the disk.

    Args:
        root: The folder.
        samples: What lies in it, in the order of ids.
        read_target: Returns the target of a sample.
        ids: Sample ids, int64 [N]: positions among all sorted image paths.
        groups: Group ids, int64 [N], or None where unknown.
    """

    root: Path
    samples: Sequence[Sample]
    read_target: Callable[[Sample], Any]
    ids: Array
    groups: Array | None

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.samples)

    def image(self, index: int) -> Array:
        """Image [H, W] or [H, W, 3]: uint8, or float32 in [0, 1]."""
        return read_image(self.root / self.samples[index].image)

    def target(self, index: int) -> Any:
        """Label (int), mask (uint8 [H, W] of class indices), captions, or None."""
        return self.read_target(self.samples[index])


class ConceptFolderSplit(FolderSplit):
    """A split of captioned images with codes of what they show (`ConceptSplit`)."""

    def concepts(self, index: int) -> tuple[str, ...]:
        """Codes of one image, sorted; empty where none was found."""
        return self.samples[index].concepts or ()


def open_folder(
    name: str, root: Path, access: DataAccess, *, official: bool = False
) -> OpenDataset:
    """Open a folder under the name its card has.

    Args:
        name: As records show it.
        root: The folder.
        access: Options and progress.
        official: The given splits are a publisher's: groups that they tear are told, not refused.

    Raises:
        SetupError: If a file or a package is missing.
        IntegrityError: If files do not fit together or cannot be read.
        UsageError: If an option names a column that is not there.
    """
    layout = recognise(root).read(root, access.options)
    samples = sorted(layout.samples, key=lambda sample: sample.image)
    if not samples and not layout.problems:
        raise IntegrityError(f"{root} holds no samples: its folders or tables are empty")
    twice = [image for image, n in Counter(s.image for s in samples).items() if n > 1]
    if twice:
        raise IntegrityError(f"{len(twice)} images are named more than once: {listed(twice)}")
    shas, sizes, unreadable = _survey_images(root, samples, access)
    require_sound([*layout.problems, *unreadable], root)
    classes, read_target, target_texts = _targets(root, layout, samples, sizes)
    splits, split_rule = _assign(samples, shas, layout, official)
    group_ids = _group_ids(samples)
    opened = {}
    for split in SPLITS:
        chosen = [i for i, where in enumerate(splits) if where == split]
        kind = FolderSplit if samples[0].concepts is None else ConceptFolderSplit
        opened[split] = kind(
            root=root,
            samples=[samples[i] for i in chosen],
            read_target=read_target,
            ids=frozen(np.array(chosen, dtype=np.int64)),
            groups=None if group_ids is None else frozen(group_ids[chosen]),
        )
    return OpenDataset(
        name=name,
        kind=layout.kind,
        classes=classes,
        digest=samples_digest(splits, group_ids, shas, target_texts),
        splits=opened,
        facts={
            **layout.facts,
            "splits": split_rule,
            **duplicate_facts(samples, shas, splits),
            **_pixel_facts(samples),
        },
    )


def _survey_images(
    root: Path, samples: Sequence[Sample], access: DataAccess
) -> tuple[list[str], list[tuple[int, int]], list[str]]:
    """Return SHA-256 and size (H, W) of every image, and what is wrong with any."""
    progress = access.progress or Silent()
    progress.start("checking images", len(samples))
    shas, sizes, problems = [], [], {}
    for sample in samples:
        path = root / sample.image
        try:
            sizes.append(image_size(path))
        except IntegrityError as error:
            problems[sample.image] = str(error)
            continue
        shas.append(digests(path)[1])
        progress.advance()
    if not problems:
        return shas, sizes, []
    said = (
        f"{len(problems)} of {len(samples)} images cannot be read: {listed(problems)}; "
        f"the first says: {problems[min(problems)]}; replace or remove them"
    )
    return shas, sizes, [said]


def _targets(
    root: Path, layout: Layout, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]
) -> tuple[tuple[str, ...], Callable[[Sample], Any], list[str]]:
    """Return class names, the reader of targets, and a text for each target to digest."""
    if layout.kind == "labels":
        labels = _class_order({str(sample.target) for sample in samples})
        indices = {label: index for index, label in enumerate(labels)}
        texts = [f"{indices[str(s.target)]} {s.target}" for s in samples]
        return labels, _LabelReader(indices), texts
    if layout.kind == "masks":
        found = survey(root, samples, sizes)
        return found.classes, MaskMap(root, found.values), found.digests
    return (), _given_target, [text(sample) for sample in samples]


@dataclass(frozen=True)
class _LabelReader:
    indices: dict[str, int]

    def __call__(self, sample: Sample) -> int:
        return self.indices[str(sample.target)]


def _given_target(sample: Sample) -> Any:
    return sample.target


def text(sample: Sample) -> str:
    """Return captions and concepts, where there are any, as one text."""
    captions = "\x1f".join(sample.target) if isinstance(sample.target, tuple) else ""
    return captions if sample.concepts is None else "\x1d".join((captions, *sample.concepts))


def _class_order(labels: set[str]) -> tuple[str, ...]:
    """Return class names in order: by number where all are whole numbers, else by letters."""
    if len(labels) < 2:
        raise IntegrityError(
            f"all images have the label {next(iter(labels))!r}; at least 2 classes are needed"
        )
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def require_sound(problems: Sequence[str], root: Path) -> None:
    """Raise `IntegrityError` with everything that is wrong with a dataset, if anything is."""
    if len(problems) == 1:
        raise IntegrityError(problems[0])
    if problems:
        told = "".join(f"\n- {problem}" for problem in problems)
        raise IntegrityError(
            f"{len(problems)} things are wrong with {root}, mend them first:{told}"
        )


def _assign(
    samples: Sequence[Sample], shas: list[str], layout: Layout, official: bool
) -> tuple[list[str], str]:
    """Return the split of every sample, and the rule."""
    given, groups = [s.split for s in samples], [s.group for s in samples]
    if any(given):
        splitting.check_given(given, groups, official=official)
        return given, "given"
    strata = [s.target if layout.kind == "labels" else "" for s in samples]
    return splitting.draw(shas, groups, strata), splitting.DRAWN


def duplicate_facts(
    samples: Sequence[Sample], shas: Sequence[str], splits: Sequence[str]
) -> dict[str, str]:
    """Return how many images are in more than one given split, and warn; drawn splits have none."""
    twins = splitting.in_several(shas, splits)
    if not twins:
        return {}
    log.warning(
        "%d images stand in more than one split, byte for byte (%s); scores may be too good: keep "
        "each image in one split",
        len(twins),
        listed(samples[index].image for index in twins),
    )
    return {"duplicates": f"{len(twins)} images stand in more than one split"}


def _group_ids(samples: Sequence[Sample]) -> Array | None:
    """Return a number for each sample's group, in sorted order of groups; None if unknown."""
    if not samples[0].group:
        return None
    _, numbers = np.unique([sample.group for sample in samples], return_inverse=True)
    return numbers.astype(np.int64)


def samples_digest(
    splits: Sequence[str], groups: Array | None, shas: Sequence[str], targets: Sequence[str]
) -> str:
    """Return the SHA-256 over id, split, group, image and target of every sample."""
    digest = hashlib.sha256()
    for index, (split, sha, target) in enumerate(zip(splits, shas, targets, strict=True)):
        group = "" if groups is None else groups[index]
        digest.update("\x1e".join((str(index), split, str(group), sha, target, "")).encode())
    return digest.hexdigest()


def _pixel_facts(samples: Sequence[Sample]) -> dict[str, str]:
    """Return how grey values were made."""
    facts = {"source_size": "native", "pixels": PIXEL_RULES}
    if any(sample.image.lower().endswith(DICOM) for sample in samples):
        from omnibench_plugins.datasets.folder.dicom import WINDOWING

        facts["windowing"] = WINDOWING
    return facts
