"""Findings in words: the rows of the table, most important first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from omnibench.audit.duplicates import NEAR_SIDE

if TYPE_CHECKING:
    from omnibench.audit.findings import Findings

SHOWN = 8  # ids and sizes that a line names


def lines(found: Findings) -> Iterator[tuple[str, str]]:
    """Yield a subject and what was found."""
    yield "samples", _samples(found)
    yield from _duplicates(found)
    yield "group leakage", _groups(found)
    yield from _targets(found)
    yield from _images(found)


def _samples(found: Findings) -> str:
    held = "/".join(str(split.samples) for split in found.splits.values())
    published = [split.published for split in found.splits.values()]
    if None in published:
        return f"{held} in {'/'.join(found.splits)}; not compared with published sizes"
    stated = "/".join(map(str, published))
    return f"{held}, as published" if held == stated else f"{held}; published are {stated}"


def _duplicates(found: Findings) -> Iterator[tuple[str, str]]:
    for splits, kinds in found.between().items():
        where = f"within {splits[0]}" if splits[0] == splits[1] else " and ".join(splits)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield f"duplicates {where}", f"{_pairs(kinds.total())} ({told})"
    if not found.pairs:
        yield "duplicates", "none"
    for split, ids in found.leaking().items():
        if ids:
            total = found.splits[split].samples
            yield f"{split} images seen earlier", f"{len(ids)} of {total}: {_listed(ids)}"
    total = sum(split.samples for split in found.splits.values())
    if found.compared < total:
        told = (
            f"{found.compared} of {total} images for near-duplicates; the others (copies, damaged, "
            f"below {NEAR_SIDE} pixels) for equality under turning and mirroring only"
        )
        yield "compared", told
    conflicts = [pair for pair in found.pairs if pair.conflicting]
    what = {"labels": "different labels", "masks": "very different masks"}.get(found.kind)
    if what:
        told = ", ".join(f"{p.first.id} and {p.second.id}" for p in conflicts[:SHOWN])
        more = ", …" if len(conflicts) > SHOWN else ""
        yield (
            f"one image, {what}",
            f"{_pairs(len(conflicts))}: {told}{more}" if conflicts else "none",
        )


def _groups(found: Findings) -> str:
    known = {name: split.groups for name, split in found.splits.items() if split.groups is not None}
    if not known:
        return "not known: the dataset gives no patients, volumes or articles"
    if not found.torn:
        return f"none; groups: {', '.join(f'{n} in {name}' for name, n in known.items())}"
    return f"{len(found.torn)} in several splits: {_listed([t.group for t in found.torn])}"


def _targets(found: Findings) -> Iterator[tuple[str, str]]:
    for name, split in found.splits.items():
        if split.classes:
            told = ", ".join(f"{count} {each}" for each, count in split.classes.items())
            absent = f"; ABSENT: {', '.join(split.absent)}" if split.absent else ""
            yield f"images of a class in {name}", told + absent
        if found.kind == "masks":
            yield f"empty masks in {name}", _counted(split.empty_masks)
        if split.out_of_range:
            yield f"targets out of range in {name}", _counted(split.out_of_range)


def _images(found: Findings) -> Iterator[tuple[str, str]]:
    for name, split in found.splits.items():
        sizes = list(split.sizes.items())
        told = ", ".join(f"{count} of {size}" for size, count in sizes[:SHOWN])
        more = f" and {len(sizes) - SHOWN} more sizes" if len(sizes) > SHOWN else ""
        values = (
            f"; values {split.low:.3g} to {split.high:.3g}, mean {split.mean:.3g} of the range"
            if split.mean is not None
            else ""
        )
        yield f"images in {name}", (told + more or "none") + values
        for what in ("constant", "unreadable", "invalid"):
            ids: Sequence[int] = getattr(split, what)
            if ids:
                yield f"{what} images in {name}", _counted(ids)


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _counted(ids: Sequence[int]) -> str:
    return f"{len(ids)}: {_listed(ids)}" if ids else "none"


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:SHOWN])) + (", …" if len(ids) > SHOWN else "")
