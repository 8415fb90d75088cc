"""Which images could be the same: the nearest ones in a small description, under all symmetries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from omnibench.audit import symmetries
from omnibench.audit.prints import SIDE
from omnibench.audit.rows import Rows
from omnibench.cards import SPLITS

Array = np.ndarray[Any, Any]

GRID = 16  # cells a side of a description
SMOOTH = 3.0  # cells; slower changes of brightness than this say little about an image
# Descriptions are whole numbers of this length. Sums of their products stay below 2^24, so that
# matrix products in fp32 are exact: the same on every machine, whatever its order of summation.
LENGTH = 2047
NEAREST = 10  # candidates an image in each split: a volume's other slices take the first places
LEAST = 0.5  # correlation of two descriptions below which images are not compared
BLOCK = 2**23  # products held at a time

SLOTS = NEAREST * len(SPLITS)
NEIGHBOURS = np.dtype([("other", "i4", (SLOTS,)), ("symmetry", "u1", (SLOTS,))])


def describe(thumbnails: Array) -> Array:
    """Return descriptions [N, GRID * GRID] of thumbnails uint8 [N, SIDE, SIDE].

    Cell means without slow changes of brightness, centred and scaled to a length of `LENGTH`.
    """
    cell = SIDE // GRID
    cells = thumbnails.reshape(-1, GRID, cell, GRID, cell).mean(axis=(2, 4), dtype=np.float64)
    cells -= ndimage.gaussian_filter(cells, (0, SMOOTH, SMOOTH))
    cells -= cells.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((cells**2).sum(axis=(1, 2), keepdims=True))
    scaled = np.rint(cells * (LENGTH / np.maximum(norm, 1e-9)))
    described: Array = scaled.reshape(len(thumbnails), -1).astype(np.float32)
    return described


def descriptions(prints: Rows, chosen: Array) -> Array:
    """Return the descriptions of some images, a few thumbnails at a time."""
    blocks = [
        describe(prints.read(chosen[at : at + 1024])["thumbnail"])
        for at in range(0, len(chosen), 1024)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, GRID * GRID), np.float32)


def nearest(described: Array, bounds: Sequence[int], start: int, stop: int) -> Array:
    """Return the candidates of images [start, stop) among all, as `NEIGHBOURS` [stop - start].

    Each split has places of its own, so that a test image's many relatives in test never hide one
    in train. `symmetry` is what turns the image into the other; free places hold -1.

    Args:
        described: Descriptions of all images, split after split.
        bounds: Where each split begins and ends among them, four numbers.
        start: The first image.
        stop: After the last.
    """
    found = np.zeros(stop - start, NEIGHBOURS)
    found["other"] = -1
    step = max(1, BLOCK // max(1, len(described)))
    for at in range(start, stop, step):
        rows = np.arange(at, min(at + step, stop))
        best, symmetry = _correlate(described[rows], described)
        best[np.arange(len(rows)), rows] = -np.inf
        for place, row in enumerate(rows - start):
            others = np.concatenate(
                [_largest(best[place, a:b]) + a for a, b in itertools.pairwise(bounds)]
            )
            found["other"][row, : len(others)] = others
            found["symmetry"][row, : len(others)] = symmetry[place, others]
    return found


def pairs(neighbours: Array) -> tuple[Array, Array, Array]:
    """Return each pair of candidates once: first < second, and the symmetry from first to second."""
    first, slot = np.nonzero(neighbours["other"] >= 0)
    second = neighbours["other"][first, slot].astype(np.int64)
    symmetry = neighbours["symmetry"][first, slot]
    backward = first > second
    symmetry = np.where(backward, symmetries.INVERSE[symmetry], symmetry)
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((backward, high, low))
    low, high, symmetry = low[order], high[order], symmetry[order]
    fresh = np.ones(len(low), dtype=bool)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return low[fresh], high[fresh], symmetry[fresh]


def _correlate(queries: Array, described: Array) -> tuple[Array, Array]:
    """Return, for each query and image, the best product over symmetries, and which it is."""
    shape = (len(queries), len(described))
    best, symmetry = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.uint8)
    for number in symmetries.ALL:
        turned = symmetries.turned(queries.reshape(-1, GRID, GRID), number)
        product = turned.reshape(len(queries), -1) @ described.T
        better = product > best
        best[better] = product[better]
        symmetry[better] = number
    return best, symmetry


def _largest(products: Array) -> Array:
    """Return the places of the largest products above the least, ties by place."""
    kth = np.partition(products, -NEAREST)[-NEAREST] if len(products) > NEAREST else -np.inf
    places = np.flatnonzero(products >= max(kth, LEAST * LENGTH**2))
    order = np.argsort(-products[places], kind="stable")
    found: Array = places[order][:NEAREST]
    return found
