"""What an audit found: plain facts, ready to be printed, drawn or written as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from omnibench.audit.duplicates import Kind
from omnibench.cards import SPLITS, DatasetKind

AGREES = 0.5  # Dice of two masks of one image below which they are said to conflict; unstated


@dataclass(frozen=True, kw_only=True)
class Case:
    """One sample."""

    split: str
    id: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two samples that show the same image; the first is in no later split than the second.

    Args:
        first: One sample.
        second: The other.
        kind: `identical` pixels, `turned` (equal under a symmetry of the square), or `near`.
        score: Median local correlation of fine structure; 1 for equal pixels.
        how: What turns the first into the second, in words; empty if nothing does.
        agreement: Of the targets: 1 or 0 for labels, mean Dice of the foreground classes for
            masks; None where there is nothing to compare.
    """

    first: Case
    second: Case
    kind: Kind
    score: float
    how: str
    agreement: float | None

    @property
    def splits(self) -> tuple[str, str]:
        """The splits of the two."""
        return self.first.split, self.second.split

    @property
    def conflicting(self) -> bool:
        """Whether the same image has different labels, or very different masks."""
        return self.agreement is not None and self.agreement < AGREES


@dataclass(frozen=True, kw_only=True)
class TornGroup:
    """A patient, volume or article with samples in several splits."""

    group: int
    samples: Mapping[str, int]  # by split


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What one split holds; lists hold sample ids.

    Args:
        samples: Their number.
        published: The number that the card states, None where it states none.
        groups: Number of groups, None where groups are not known.
        sizes: Number of images by size and kind of number, such as `224x224 uint8`.
        low: Smallest value of any sound image, in 0 … 1 of what can be stored.
        high: Largest.
        mean: Mean of the images' means.
        constant: Images of one value.
        unreadable: Images that their dataset refuses to give.
        invalid: Images of a shape, type or range that the contract does not allow.
        classes: Number of images that show each class.
        out_of_range: Targets with a value that is no class, or masks of another size than their
            image.
        empty_masks: Masks without foreground.
    """

    samples: int
    published: int | None
    groups: int | None
    sizes: Mapping[str, int]
    low: float | None
    high: float | None
    mean: float | None
    constant: tuple[int, ...]
    unreadable: tuple[int, ...]
    invalid: tuple[int, ...]
    classes: Mapping[str, int]
    out_of_range: tuple[int, ...]
    empty_masks: tuple[int, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that no image shows."""
        return tuple(name for name, count in self.classes.items() if not count)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything an audit found.

    Args:
        dataset: Its name.
        digest: Its content digest.
        kind: What its targets are.
        facts: What the dataset says of itself (source size, splits, `unverified`).
        method: Version of the search for duplicates.
        compared: Images that were compared for more than equality; small ones are not.
        splits: By name.
        pairs: Samples that show the same image. A sample is linked with the first copy in each
            split, not with every copy.
        torn: Groups in several splits.
    """

    dataset: str
    digest: str
    kind: DatasetKind
    facts: Mapping[str, str]
    method: str
    compared: int
    splits: Mapping[str, SplitFacts]
    pairs: tuple[Pair, ...]
    torn: tuple[TornGroup, ...]

    @property
    def damaged(self) -> int:
        """Number of images that cannot be used."""
        return sum(len(s.unreadable) + len(s.invalid) for s in self.splits.values())

    def between(self) -> dict[tuple[str, str], Counter[str]]:
        """Return the number of pairs of each kind, by their splits in order."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for pair in self.pairs:
            found.setdefault(pair.splits, Counter())[pair.kind] += 1
        return dict(sorted(found.items(), key=lambda item: [SPLITS.index(s) for s in item[0]]))

    def leaking(self) -> dict[str, tuple[int, ...]]:
        """Return the ids of validation and test samples whose image is in an earlier split."""
        return leaking((pair.first, pair.second) for pair in self.pairs)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        document = asdict(self)
        for pair, told in zip(self.pairs, document["pairs"], strict=True):
            told["conflicting"] = pair.conflicting
        return {**document, "leaking": self.leaking()}


def leaking(pairs: Iterable[tuple[Case, Case]]) -> dict[str, tuple[int, ...]]:
    """Return, for validation and test, the ids of second samples whose first is in another split."""
    found: dict[str, set[int]] = {name: set() for name in SPLITS[1:]}
    for first, second in pairs:
        if first.split != second.split:
            found[second.split].add(second.id)
    return {name: tuple(sorted(ids)) for name, ids in found.items()}
