"""Is one image the other? Local comparison of fine structure, after laying one over the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from omnibench.audit import symmetries
from omnibench.audit.alignment import LEVELS, UNIT_BOX, agreement, equalised, laid, warp
from omnibench.audit.prints import SIDE
from omnibench.audit.rows import Rows
from omnibench.interfaces import Progress

Array = np.ndarray[Any, Any]

COARSE = 0.75  # correlation on a 32-pixel grid below which nothing more is computed
SAME = 0.95  # median local correlation from which two images are called the same
BATCH = 64  # pairs at a time

BAND = (0.7, 2.5)  # pixels of the thumbnail: structure between these widths
WINDOW, STRIDE, MARGIN = 16, 6, 14  # pixels; frames and cropped edges lie in the margin
TEXTURE = 2.0  # grey levels squared: variance of a window with structure, above JPEG's noise
DARK, BRIGHT = 2, 253  # grey levels up to and from which pixels may be clipped
LOST = 0.3  # share of pixels clipped in one image only from which a window is not compared
LEAST_WINDOWS = 30  # with fewer that have structure, nothing is claimed

MATCH = np.dtype([("score", "f4"), ("box", "f4", (4,))])


def matches(prints: Rows, pairs: tuple[Array, Array, Array], progress: Progress) -> Array:
    """Return `MATCH` [P] of candidate pairs (first, second, symmetry from first to second).

    The score is 0 where two images are clearly different; the box lays the first, turned, over the
    second.
    """
    first, second, symmetry = pairs
    found = np.zeros(len(first), MATCH)
    for at in range(0, len(first), BATCH):
        part = slice(at, at + BATCH)
        moving = prints.read(first[part])["thumbnail"]
        moving = np.stack(
            [symmetries.turned(i, s) for i, s in zip(moving, symmetry[part], strict=True)]
        )
        fixed = prints.read(second[part])["thumbnail"]
        found["score"][part], found["box"][part] = compare(fixed, moving)
        progress.advance(len(fixed))
    return found


def compare(fixed: Array, moving: Array) -> tuple[Array, Array]:
    """Return scores [N] and boxes [N, 4] of thumbnails uint8 [N, SIDE, SIDE]."""
    scores, boxes = np.zeros(len(fixed)), np.tile(UNIT_BOX, (len(fixed), 1))
    a, b = fixed.astype(np.float32), moving.astype(np.float32)
    even_a, even_b = equalised(a), equalised(b)
    *coarse, fine = LEVELS
    for level in coarse:
        boxes = laid(even_a, even_b, boxes, level)
    likely = np.flatnonzero(agreement(even_a, even_b, boxes, coarse[-1][0]) >= COARSE)
    if len(likely):
        boxes[likely] = laid(even_a[likely], even_b[likely], boxes[likely], fine)
        scores[likely] = _local(a[likely], b[likely], boxes[likely])
    return scores, boxes


def _local(fixed: Array, moving: Array, boxes: Array) -> Array:
    """Return the median correlation of windows with structure in either image.

    A median, so that burnt-in marks and text on one copy change nothing.
    """
    lost = np.abs(_clipped(fixed) - warp(_clipped(moving), boxes))
    a, b = _band(fixed), _band(warp(moving, boxes))
    mean_a, mean_b = _windows(a), _windows(b)
    var_a = np.maximum(_windows(a * a) - mean_a**2, 0)
    var_b = np.maximum(_windows(b * b) - mean_b**2, 0)
    correlation = (_windows(a * b) - mean_a * mean_b) / np.sqrt(var_a * var_b + 1e-3)
    compared = np.maximum(var_a, var_b) > TEXTURE
    compared &= _windows(lost) < LOST
    return np.array(
        [
            np.median(values[use]) if use.sum() >= LEAST_WINDOWS else 0.0
            for values, use in zip(correlation, compared, strict=True)
        ]
    )


def _clipped(images: Array) -> Array:
    clipped: Array = ((images <= DARK) | (images >= BRIGHT)).astype(np.float32)
    return clipped


def _band(images: Array) -> Array:
    narrow, wide = BAND
    fine = ndimage.gaussian_filter(images, (0, narrow, narrow))
    band: Array = fine - ndimage.gaussian_filter(images, (0, wide, wide))
    return band


def _windows(images: Array) -> Array:
    """Return means over windows, on a grid that leaves the margin out."""
    inner = slice(MARGIN, SIDE - MARGIN + 1, STRIDE)
    means: Array = ndimage.uniform_filter(images, (0, WINDOW, WINDOW))[:, inner, inner]
    return means
