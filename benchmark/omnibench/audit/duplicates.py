"""Which samples of a dataset show the same image."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from omnibench.audit import neighbours, prints, symmetries, verification
from omnibench.audit.alignment import UNIT_BOX
from omnibench.audit.cases import Cases
from omnibench.audit.rows import Rows, kept
from omnibench.features.cache import FeatureStore
from omnibench.interfaces import Progress

Array = np.ndarray[Any, Any]
Kind = Literal["identical", "turned", "near"]
Group = list[int]  # positions of equal images, ascending

# Raised whenever other pairs may be found: part of what is kept, and of a clean variant's identity.
METHOD = "audit-1"
NEAR_SIDE = 64  # pixels; images with a shorter side are compared for equality only


class Link(NamedTuple):
    """Two samples that show the same image, by position; the first is in no later split.

    `symmetry` and `box` lay the first over the second; both are None where that was not measured,
    since each of the two equals one of two others that were compared.
    """

    first: int
    second: int
    kind: Kind
    score: float
    symmetry: int | None = None
    box: tuple[float, ...] | None = None


class Duplicates(NamedTuple):
    """All links in order, and how many images were compared for more than equality."""

    links: list[Link]
    compared: int


def find(
    cases: Cases, seen: Rows, facts: Array, store: FeatureStore | None, progress: Progress
) -> Duplicates:
    """Return the duplicates among all samples.

    Equal images form a group. One image of each is compared with those of others, and what is found
    holds for all. A sample is linked with the first one of each split, not with every one: many
    copies give few links, and still each is linked with any split that holds another.

    Args:
        cases: The samples.
        seen: Their `prints.PRINT`.
        facts: The same without thumbnails.
        store: Where candidates and scores are kept.
        progress: Told about each block.
    """
    groups = _groups(facts)
    links = [link for group in groups for link in _equal(cases, group, seen, facts)]
    heads = np.array([group[0] for group in groups], dtype=np.int64)
    sides = np.minimum(facts["height"], facts["width"])[heads]
    large = np.flatnonzero(sides >= NEAR_SIDE)
    for near in _near(cases, seen, heads[large], store, progress):
        one, other = (groups[large[place]] for place in (near.first, near.second))
        links += _carried(cases, one, other, near)
    return Duplicates(sorted(links, key=lambda link: link[:2]), len(large))


def _groups(facts: Array) -> list[Group]:
    """Return the positions of images that are equal under a symmetry, by first position."""
    found: dict[bytes, Group] = {}
    for position in np.flatnonzero(facts["state"] == prints.SOUND).tolist():
        found.setdefault(facts["turned"][position].tobytes(), []).append(position)
    return list(found.values())


def _heads(cases: Cases, group: Group) -> list[int]:
    """Return the first member in each split."""
    splits = cases.split_number(np.array(group))
    return [group[int(np.argmax(splits == split))] for split in np.unique(splits)]


def _equal(cases: Cases, group: Group, seen: Rows, facts: Array) -> Iterator[Link]:
    """Yield the links inside a group of equal images."""
    for second in group[1:]:
        for first in _heads(cases, group):
            if first < second:
                same = np.array_equal(facts["pixels"][first], facts["pixels"][second])
                symmetry = 0 if same else _symmetry(seen, first, second)
                kind: Kind = "identical" if same else "turned"
                yield Link(first, second, kind, 1.0, symmetry, tuple(UNIT_BOX.tolist()))


def _symmetry(seen: Rows, first: int, second: int) -> int:
    """Return what turns one image into an equal one."""
    one, other = seen.read([first, second])["thumbnail"].astype(np.int64)
    apart = [np.abs(symmetries.turned(one, s) - other).sum() for s in symmetries.ALL]
    return int(np.argmin(apart))


def _near(
    cases: Cases, seen: Rows, chosen: Array, store: FeatureStore | None, progress: Progress
) -> list[Link]:
    """Return the near-duplicates among images that all differ, by place in `chosen`."""
    identity = {"method": METHOD, **cases.identity()}
    bounds = np.searchsorted(chosen, cases.starts).tolist()

    @functools.cache
    def described() -> Array:
        return neighbours.descriptions(seen, chosen)

    def candidates(start: int, stop: int) -> Array:
        found = neighbours.nearest(described(), bounds, start, stop)
        progress.advance(stop - start)
        return found

    rows = kept(
        store,
        {"audit": "neighbours", **identity},
        neighbours.NEIGHBOURS,
        len(chosen),
        candidates,
        what="looking for candidates",
        progress=progress,
    )
    first, second, symmetry = neighbours.pairs(rows.all())

    def compared(start: int, stop: int) -> Array:
        part = slice(start, stop)
        pairs = (chosen[first[part]], chosen[second[part]], symmetry[part])
        return verification.matches(seen, pairs, progress)

    found = kept(
        store,
        {"audit": "matches", **identity},
        verification.MATCH,
        len(first),
        compared,
        what="comparing candidates",
        progress=progress,
    ).all()
    return [
        Link(
            int(first[k]),
            int(second[k]),
            "near",
            float(found["score"][k]),
            int(symmetry[k]),
            tuple(found["box"][k].tolist()),
        )
        for k in np.flatnonzero(found["score"] >= verification.SAME)
    ]


def _carried(cases: Cases, one: Group, other: Group, near: Link) -> list[Link]:
    """Return what a near-duplicate of two groups' first members means for all their members."""
    linked = {(one[0], other[0])}
    linked |= {(head, member) for head in _heads(cases, one) for member in other}
    linked |= {(member, head) for head in _heads(cases, other) for member in one}
    links = []
    for a, b in linked:
        if (a, b) == (one[0], other[0]):
            links.append(near._replace(first=a, second=b))
        else:
            links.append(Link(min(a, b), max(a, b), "near", near.score))
    return links
