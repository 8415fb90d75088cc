"""Who goes where: given splits are checked, missing ones are drawn from the images themselves."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError
from omnibench_plugins.datasets.folder.samples import listed

log = logging.getLogger(__name__)

SHARES = (0.7, 0.1, 0.2)  # train, val, test; unstated in the paper: the usual 7:1:2 of MedSegBench
DRAWN = (
    "drawn 70/10/20 in the order of SHA-256 over image contents, class by class; "
    "equal image files and groups stay together"
)


def check_given(splits: Sequence[str], groups: Sequence[str], *, official: bool = False) -> None:
    """Raise `IntegrityError` if a sample has no split, a split is empty or a group is in two.

    Where the splits are a publisher's, a group in two of them is only warned of.
    """
    without = splits.count("")
    if without:
        raise IntegrityError(f"{without} of {len(splits)} images have no split, others do")
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for split, group in zip(splits, groups, strict=True):
        if group:
            seen[group].add(split)
    torn = [group for group, where in seen.items() if len(where) > 1]
    if torn:
        said = (
            f"{len(torn)} groups are in more than one split: {listed(torn)}; "
            "scores would be too good"
        )
        if not official:
            raise IntegrityError(f"{said}, move each group to one split")
        log.warning("%s, but these are the publisher's splits", said)
    require_all(splits)


def require_all(splits: Sequence[str]) -> None:
    """Raise `IntegrityError` if one of the three splits is empty."""
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        raise IntegrityError(
            f"{' and '.join(empty)} would be empty: {len(splits)} images are too few to split in "
            "three, or belong to too few groups, or are too often the same"
        )


def in_several(digests: Sequence[str], splits: Sequence[str]) -> list[int]:
    """Return the index of the first sample of every content that is in more than one split.

    Args:
        digests: SHA-256 of each image file.
        splits: Split of each sample.
    """
    where: defaultdict[str, set[str]] = defaultdict(set)
    first: dict[str, int] = {}
    for index, (digest, split) in enumerate(zip(digests, splits, strict=True)):
        where[digest].add(split)
        first.setdefault(digest, index)
    return [index for digest, index in first.items() if len(where[digest]) > 1]


def draw(digests: Sequence[str], groups: Sequence[str], strata: Sequence[Hashable]) -> list[str]:
    """Return a split for every sample, from contents alone: no names, no chance.

    Units (samples tied by group or by equal contents, in any number of steps) are ordered by the
    SHA-256 of their image digests and cut 70/10/20 within every stratum, which for a unit is the
    one most of its samples have.

    Args:
        digests: SHA-256 of each image file.
        groups: Group of each sample, or empty texts.
        strata: Class of each sample, or one value for all.

    Raises:
        IntegrityError: If a split would be empty.
    """
    ranked: defaultdict[Hashable, list[tuple[str, list[int]]]] = defaultdict(list)
    for members in _units(digests, groups):
        contents = "".join(sorted(digests[i] for i in members))
        rank = hashlib.sha256(contents.encode()).hexdigest()
        votes = Counter(strata[i] for i in members)
        stratum = min(votes, key=lambda s: (-votes[s], str(s)))
        ranked[stratum].append((rank, members))
    splits = [""] * len(digests)
    for stratum_units in ranked.values():
        stratum_units.sort()
        names = _cut(len(stratum_units))
        for name, (_, members) in zip(names, stratum_units, strict=True):
            for i in members:
                splits[i] = name
    require_all(splits)
    return splits


def _units(digests: Sequence[str], groups: Sequence[str]) -> list[list[int]]:
    """Return the samples that must stay together: equal contents, or one group (union-find)."""
    parent = list(range(len(digests)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, (digest, group) in enumerate(zip(digests, groups, strict=True)):
        for tie in [("content", digest), *([("group", group)] if group else [])]:
            parent[root(index)] = root(first.setdefault(tie, index))
    units: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(digests)):
        units[root(index)].append(index)
    return list(units.values())


def _cut(count: int) -> list[str]:
    """Return `count` split names in 70/10/20; three or more leave none of the three empty."""
    smallest = 1 if count >= len(SPLITS) else 0
    val, test = (max(smallest, round(share * count)) for share in SHARES[1:])
    return ["train"] * (count - val - test) + ["val"] * val + ["test"] * test
