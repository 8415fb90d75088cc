"""What an audit keeps of targets: which classes they show, and whether they are in range."""

from __future__ import annotations

from typing import Any

import numpy as np

from omnibench.audit import symmetries
from omnibench.audit.alignment import warp
from omnibench.audit.cases import Cases
from omnibench.audit.duplicates import Link
from omnibench.audit.prints import SIDE
from omnibench.audit.rows import kept
from omnibench.features.cache import FeatureStore
from omnibench.interfaces import Progress

Array = np.ndarray[Any, Any]

FORMAT = 1  # of the rows; raised when they mean something else


def target_type(classes: int) -> np.dtype[Any]:
    """Return the type of one row: which classes are shown, and whether all values are in range."""
    return np.dtype([("shows", "?", (classes,)), ("in_range", "?")])


def targets(
    cases: Cases, facts: Array, store: FeatureStore | None, progress: Progress
) -> Array | None:
    """Return a row for each target, or None where there are none or they are texts.

    Args:
        cases: The samples.
        facts: Height and width of their images.
        store: Where rows are kept.
        progress: Told about each target.
    """
    dataset = cases.dataset
    if dataset.kind not in ("labels", "masks"):
        return None
    dtype = target_type(len(dataset.classes))

    def compute(start: int, stop: int) -> Array:
        rows = np.zeros(stop - start, dtype)
        for place, position in enumerate(range(start, stop)):
            _fill(rows, place, cases, facts, position)
            progress.advance()
        return rows

    return kept(
        store,
        {"targets": FORMAT, "classes": list(dataset.classes), **cases.identity()},
        dtype,
        len(cases),
        compute,
        what=f"reading {dataset.kind}",
        progress=progress,
    ).all()


def agreement(cases: Cases, shown: Array | None, link: Link) -> float | None:
    """Return how far the targets of two samples of one image agree (see `findings.Pair`)."""
    if shown is None:
        return None
    if cases.dataset.kind == "labels":
        one, other = shown["shows"][link.first], shown["shows"][link.second]
        return float(np.array_equal(one, other))
    if link.symmetry is None or link.box is None:
        return None
    one, other = (_small(cases.target(position)) for position in (link.first, link.second))
    turned = symmetries.turned(one, link.symmetry)
    dice = [
        _dice(_laid(turned == c, np.array(link.box)), other == c)
        for c in np.union1d(one, other)
        if c
    ]
    return float(np.mean(dice)) if dice else 1.0


def _fill(rows: Array, place: int, cases: Cases, facts: Array, position: int) -> None:
    target = np.asarray(cases.target(position))
    shows, in_range = rows["shows"][place], True
    if cases.dataset.kind == "masks":
        found = np.unique(target)
        in_range = target.shape == (facts["height"][position], facts["width"][position])
    elif target.ndim:
        found = np.flatnonzero(target)
        in_range = len(target) == len(shows) and bool(np.isin(target, (0, 1)).all())
    else:
        found = target.reshape(1)
    valid = found[(found >= 0) & (found < len(shows))].astype(np.int64)
    shows[valid] = True
    rows["in_range"][place] = in_range and len(valid) == len(found)


def _small(mask: Array) -> Array:
    """Return the classes of a mask at the side of thumbnails, nearest pixel."""
    rows, columns = (
        ((np.arange(SIDE) + 0.5) * length / SIDE).astype(np.int64) for length in mask.shape
    )
    small: Array = mask[np.ix_(rows, columns)]
    return small


def _laid(mask: Array, box: Array) -> Array:
    laid: Array = warp(mask[None].astype(np.float32), box[None])[0] >= 0.5
    return laid


def _dice(one: Array, other: Array) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))
