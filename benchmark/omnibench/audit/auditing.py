"""`audit(dataset)`: look through a dataset, and say what is in it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from omnibench.audit import duplicates, prints, symmetries
from omnibench.audit.cases import Cases
from omnibench.audit.duplicates import METHOD, Link
from omnibench.audit.findings import Case, Findings, Pair, SplitFacts, TornGroup, leaking
from omnibench.audit.targets import agreement, targets
from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError
from omnibench.features.cache import FeatureStore
from omnibench.interfaces import Dataset, Progress, Silent

Array = np.ndarray[Any, Any]


def audit(
    dataset: Dataset,
    *,
    published: tuple[int, int, int] | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Look for images that occur twice, torn groups, odd targets and odd images.

    Args:
        dataset: An opened dataset; anything that keeps the contract.
        published: Number of samples that train, val and test should have, for comparison.
        store: Where intermediate results are kept, so that an audit goes on where it was killed
            and a second one is instant; None keeps nothing.
        progress: Told about each block of images.

    Returns:
        What was found; finding something is no error.
    """
    progress = progress or Silent()
    cases = Cases.of(dataset)
    seen = prints.prints(cases, store, METHOD, progress)
    facts = prints.small(seen)
    found = duplicates.find(cases, seen, facts, store, progress)
    shown = targets(cases, facts, store, progress)
    ids = cases.ids()
    return Findings(
        dataset=dataset.name,
        digest=dataset.digest,
        kind=dataset.kind,
        facts=dict(dataset.facts),
        method=METHOD,
        compared=found.compared,
        splits={
            name: _split_facts(cases, number, facts, shown, ids, published)
            for number, name in enumerate(SPLITS)
        },
        pairs=tuple(_pair(cases, ids, link, agreement(cases, shown, link)) for link in found.links),
        torn=_torn(dataset),
    )


def leaks(
    dataset: Dataset, *, store: FeatureStore | None = None, progress: Progress | None = None
) -> dict[str, tuple[int, ...]]:
    """Return ids of validation and test samples whose image, or nearly it, is in an earlier split.

    Raises:
        IntegrityError: If images cannot be read: then nobody knows what they show.
    """
    progress, cases = progress or Silent(), Cases.of(dataset)
    seen = prints.prints(cases, store, METHOD, progress)
    facts = prints.small(seen)
    bad = int((facts["state"] >= prints.UNREADABLE).sum())
    if bad:
        raise IntegrityError(
            f"{bad} of {len(facts)} images of {dataset.name} cannot be read, so that nobody knows "
            "what they show; `omnibench audit` lists them"
        )
    links = duplicates.find(cases, seen, facts, store, progress).links
    ids = cases.ids()
    return leaking(
        (_case(cases, ids, link.first), _case(cases, ids, link.second)) for link in links
    )


def _case(cases: Cases, ids: Array, position: int) -> Case:
    return Case(split=cases.place(position)[0], id=int(ids[position]))


def _pair(cases: Cases, ids: Array, link: Link, agrees: float | None) -> Pair:
    return Pair(
        first=_case(cases, ids, link.first),
        second=_case(cases, ids, link.second),
        kind=link.kind,
        score=round(link.score, 4),
        how=_how(link),
        agreement=None if agrees is None else round(agrees, 4),
    )


def _how(link: Link) -> str:
    """Return in words what turns the first image into the second."""
    if link.symmetry is None or link.box is None:
        return "equal to images that were compared"
    height, width = (round(100 * link.box[axis]) for axis in (0, 2))
    part = f"shows {height} % of the first's height and {width} % of its width"
    parts = (symmetries.NAMES[link.symmetry], "" if height == width == 100 else part)
    return ", ".join(part for part in parts if part)


def _split_facts(
    cases: Cases,
    number: int,
    facts: Array,
    shown: Array | None,
    ids: Array,
    published: tuple[int, int, int] | None,
) -> SplitFacts:
    part = slice(cases.starts[number], cases.starts[number + 1])
    facts, ids = facts[part], ids[part]
    groups = cases.dataset.split(SPLITS[number]).groups

    def listed(chosen: Array) -> tuple[int, ...]:
        return tuple(ids[chosen].tolist())

    return SplitFacts(
        samples=len(ids),
        published=None if published is None else published[number],
        groups=None if groups is None else len(np.unique(groups)),
        sizes=_sizes(facts),
        **_range(facts[facts["state"] <= prints.CONSTANT]),
        constant=listed(facts["state"] == prints.CONSTANT),
        unreadable=listed(facts["state"] == prints.UNREADABLE),
        invalid=listed(facts["state"] == prints.INVALID),
        **_target_facts(cases.dataset, None if shown is None else shown[part], ids),
    )


def _range(sound: Array) -> dict[str, Any]:
    """Return the range of a split's sound images, in 0 … 1 of what can be stored."""
    if not len(sound):
        return {"low": None, "high": None, "mean": None}
    scale = np.where(sound["floating"], 1.0, 255.0)
    return {
        "low": float((sound["low"] / scale).min()),
        "high": float((sound["high"] / scale).max()),
        "mean": float((sound["mean"] / scale).mean()),
    }


def _target_facts(dataset: Dataset, shown: Array | None, ids: Array) -> dict[str, Any]:
    """Return what a split's targets show."""
    if shown is None:
        return {"classes": {}, "out_of_range": (), "empty_masks": ()}
    counts = shown["shows"].sum(axis=0).tolist()
    empty = ~shown["shows"][:, 1:].any(axis=1) & shown["in_range"]
    return {
        "classes": dict(zip(dataset.classes, counts, strict=True)),
        "out_of_range": tuple(ids[~shown["in_range"]].tolist()),
        "empty_masks": tuple(ids[empty].tolist()) if dataset.kind == "masks" else (),
    }


def _sizes(facts: Array) -> dict[str, int]:
    """Return the number of images by size and kind of number, most frequent first."""
    texts = Counter(
        f"{row['height']}x{row['width']}{'x3' if row['channels'] == 3 else ''} "
        f"{'float' if row['floating'] else 'uint8'}"
        for row in facts[facts["state"] <= prints.CONSTANT]
    )
    return dict(sorted(texts.items(), key=lambda item: (-item[1], item[0])))


def _torn(dataset: Dataset) -> tuple[TornGroup, ...]:
    """Return the groups with samples in more than one split."""
    counts: dict[int, dict[str, int]] = {}
    for name in SPLITS:
        groups = dataset.split(name).groups
        if groups is not None:
            for group, samples in zip(*np.unique(groups, return_counts=True), strict=True):
                counts.setdefault(int(group), {})[name] = int(samples)
    return tuple(
        TornGroup(group=group, samples=samples)
        for group, samples in sorted(counts.items())
        if len(samples) > 1
    )
