"""What every dataset must do, shown on a few of its images; ids and groups are all looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from omnibench.cards import SPLITS, DataAccess, DatasetSpec
from omnibench.conformance.findings import Checks, Finding, NotApplicable, conclude
from omnibench.errors import OmnibenchError
from omnibench.interfaces import ConceptSplit, Dataset, Split
from omnibench.loading import check_identity, check_image, check_mask

IMAGES = 32  # a split, evenly spaced
Sample = tuple[str, Split, int]


def check_dataset(
    card: DatasetSpec, access: DataAccess | None = None, *, images: int = IMAGES
) -> Iterator[Finding]:
    """Check a dataset against its contract.

    Args:
        card: The dataset.
        access: Where its files lie; may be left out for datasets without files.
        images: How many images a split are looked at, evenly spaced.

    Yields:
        One finding a check, as soon as it is known.

    Raises:
        OmnibenchError: If it cannot be opened.
    """
    subject = Subject(card, access or DataAccess(root=Path("data"), offline=True), images)
    _ = subject.dataset
    yield from conclude(f"dataset {card.name}", subject, CHECKS)


class Subject:
    """A dataset under check, opened twice."""

    def __init__(self, card: DatasetSpec, access: DataAccess, images: int) -> None:
        self.card, self.access, self.images = card, access, images

    @cached_property
    def dataset(self) -> Dataset:
        """Opened first."""
        return self.card.open(self.access)

    @cached_property
    def second(self) -> Dataset:
        """Opened again."""
        return self.card.open(self.access)

    @cached_property
    def splits(self) -> Mapping[str, Split]:
        """The three splits."""
        return {name: self.dataset.split(name) for name in SPLITS}

    def samples(self) -> Iterator[Sample]:
        """Yield split and position of the samples that are looked at."""
        for name, split in self.splits.items():
            chosen = np.linspace(0, len(split) - 1, min(self.images, len(split)))
            yield from ((name, split, int(i)) for i in np.unique(chosen.round()))

    def first_fault(self, judge: Callable[[str, Split, int], str | None]) -> str | None:
        """Return the first fault of a looked-at sample, with the sample's split and id."""
        for name, split, index in self.samples():
            if fault := judge(name, split, index):
                return f"{name} sample {index} (id {split.ids[index]}): {fault}"
        return None


def _card(subject: Subject) -> str | None:
    card, dataset = subject.card, subject.dataset
    for what in ("name", "kind"):
        if getattr(card, what) != getattr(dataset, what):
            stated, found = getattr(card, what), getattr(dataset, what)
            return f"its card has the {what} {stated!r}, opened it has {found!r}"
    if card.classes and tuple(card.classes) != tuple(dataset.classes):
        return f"its card has {len(card.classes)} classes, opened it has {len(dataset.classes)}"
    return None


def _digest(subject: Subject) -> str | None:
    first, second = subject.dataset.digest, subject.second.digest
    if not re.fullmatch(r"[0-9a-f]{64}", first):
        return f"its digest is {first!r}; give the SHA-256 of its content as 64 hex digits"
    return None if first == second else "opened twice it has two digests; digest content alone"


def _facts(subject: Subject) -> str | None:
    facts = subject.dataset.facts
    wrong = [k for k, v in facts.items() if not (isinstance(k, str) and isinstance(v, str))]
    return f"facts {wrong} are no strings; records hold strings" if wrong else None


def _paths(subject: Subject) -> str | None:
    dataset = subject.dataset
    told = [dataset.name, dataset.digest, *dataset.classes]
    told += [text for item in dataset.facts.items() for text in item]
    places = [str(place) for place in (subject.access.root.resolve(), Path.home(), Path.cwd())]
    wrong = [t for t in told if any(len(place) > 1 and place in str(t) for place in places)]
    return (
        f"it tells a path of this machine ({wrong[0]!r}); records never hold one" if wrong else None
    )


def _identity(subject: Subject) -> str | None:
    for split in subject.splits.values():
        check_identity(split)
    return None


def _lengths(subject: Subject) -> str | None:
    found = tuple(len(split) for split in subject.splits.values())
    if min(found) < 1:
        return f"its splits hold {found} samples; every split needs some"
    stated = subject.card.split_sizes
    if stated is None:
        raise NotApplicable(f"no sizes are published; train, val and test hold {found}")
    return None if found == stated else f"train, val and test hold {found}, published are {stated}"


def _disjoint(subject: Subject) -> str | None:
    return _shared({name: split.ids for name, split in subject.splits.items()}, "sample ids")


def _groups(subject: Subject) -> str | None:
    groups = {n: s.groups for n, s in subject.splits.items() if s.groups is not None}
    if len(groups) < 2:
        raise NotApplicable("it knows no groups (patients, volumes)")
    return _shared(groups, "groups")


def _shared(numbers: Mapping[str, np.ndarray[Any, Any]], what: str) -> str | None:
    names = list(numbers)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            common = np.intersect1d(numbers[first], numbers[second])
            if len(common):
                return f"{first} and {second} share {len(common)} {what}, e.g. {common[0]}"
    return None


def _images(subject: Subject) -> str | None:
    for _, split, index in subject.samples():
        check_image(np.asarray(split.image(index)), split, index)
    return None


def _targets(subject: Subject) -> str | None:
    judge = TARGETS.get(subject.dataset.kind)
    if judge is None:
        raise NotApplicable("its images have no targets")
    return subject.first_fault(lambda _, split, index: judge(subject, split, index))


def _label(subject: Subject, split: Split, index: int) -> str | None:
    target, classes = split.target(index), len(subject.dataset.classes)
    if subject.card.multi_label:
        values = np.asarray(target)
        if values.shape != (classes,) or not np.isin(values, (0, 1)).all():
            return f"several labels are {values.shape}; give 0 or 1 for each of {classes} classes"
        return None
    if isinstance(target, bool | np.bool_) or not isinstance(target, int | np.integer):
        return f"the label is {type(target).__name__}; give an int"
    return None if 0 <= target < classes else f"label {target} is none of its {classes} classes"


def _mask(subject: Subject, split: Split, index: int) -> str | None:
    mask, classes = np.asarray(split.target(index)), len(subject.dataset.classes)
    check_mask(mask, split, index)
    return None if mask.max() < classes else f"mask value {mask.max()}, it has {classes} classes"


def _captions(subject: Subject, split: Split, index: int) -> str | None:
    target = split.target(index)
    if isinstance(target, tuple) and target and all(isinstance(t, str) and t for t in target):
        return None
    return f"captions are {target!r:.60}; give a tuple of texts that are not empty"


TARGETS: Mapping[str, Callable[[Subject, Split, int], str | None]] = {
    "labels": _label,
    "masks": _mask,
    "captions": _captions,
}


def _concepts(subject: Subject) -> str | None:
    if not all(isinstance(split, ConceptSplit) for split in subject.splits.values()):
        raise NotApplicable("it tells no concepts")

    def judge(_: str, split: Any, index: int) -> str | None:
        found = split.concepts(index)
        fits = isinstance(found, tuple) and list(found) == sorted(set(found))
        return None if fits else f"concepts are {found!r:.60}; give them sorted, each once"

    return subject.first_fault(judge)


def _repeated(subject: Subject) -> str | None:
    """Read each sample from two openings, and after the first reading was written to."""

    def judge(name: str, split: Split, index: int) -> str | None:
        image, target = split.image(index), split.target(index)
        kept = np.array(image), np.array(target)
        for array in (image, target):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = 0
        for other in (split, subject.second.split(name)):
            if not np.array_equal(other.image(index), kept[0]):
                return "its image is another when read again; return a copy, or a read-only array"
            if not np.array_equal(np.array(other.target(index)), kept[1]):
                return "its target is another when read again; return a copy, or a read-only array"
        return None

    return subject.first_fault(judge)


def _unknown(subject: Subject) -> str | None:
    try:
        subject.dataset.split("validation")
    except (OmnibenchError, KeyError, ValueError):
        return None
    return "it has a split 'validation' that is none of train, val and test; refuse other names"


CHECKS: Checks[Subject] = {
    "its card is true": _card,
    "its digest is the same when opened again": _digest,
    "its facts are texts": _facts,
    "it tells no path": _paths,
    "ids ascend, one a sample; groups likewise where known": _identity,
    "its splits have the published sizes": _lengths,
    "no sample is in two splits": _disjoint,
    "no group is in two splits": _groups,
    "its images are what they should be": _images,
    "its targets are what they should be": _targets,
    "its concepts are what they should be": _concepts,
    "a sample is the same when read again, whatever readers did to it": _repeated,
    "other splits are refused": _unknown,
}
