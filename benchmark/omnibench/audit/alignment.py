"""Lay one image over another that may be cropped or scaled a little, and compare them locally.

Gauss-Newton on gain, offset and an axis-wise scale and shift, from coarse to fine, as in Lucas and
Kanade (IJCAI 1981) with the gain and offset of Szeliski (2006), section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, Any]

# Coordinates run from -1 to 1. A box is (scale, shift) of rows, then of columns. The limits let
# an eighth of an image be cut off; wider ones would stretch slices of a volume into each other.
SCALE = (0.85, 1.18)
SHIFT = 0.16
STEP = 0.1  # largest change in one iteration
HALF = 2  # images are laid over each other at half the side of thumbnails
LEVELS = ((4, 6), (2, 6), (1, 4))  # pixels of those a pixel, iterations
UNIT_BOX = np.array([1.0, 0.0, 1.0, 0.0])


def equalised(images: Array, reach: float = 6.0, noise: float = 6.0) -> Array:
    """Return images [N, S, S] at half their side, local mean 0 and local contrast near 1.

    White frames and burnt-in marks would otherwise decide where an image is laid.
    """
    halved = _cells(images, HALF)
    centred = halved - _blurred(halved, reach)
    return centred / (np.sqrt(np.maximum(_blurred(centred**2, reach), 0)) + noise)


def warp(images: Array, boxes: Array) -> Array:
    """Return images [N, S, S] sampled at `scale * x + shift`, bilinearly, edges continued."""
    side = images.shape[-1]
    rows, columns = _weights(side, boxes[:, :2]), _weights(side, boxes[:, 2:])
    return rows @ images @ columns.swapaxes(-1, -2)


def laid(fixed: Array, moving: Array, boxes: Array, level: tuple[int, int]) -> Array:
    """Return boxes [N, 4] that lay `moving` over `fixed` (both equalised [N, S, S]) better."""
    factor, iterations = level
    a, b = _shrunk(fixed, factor), _shrunk(moving, factor)
    for _ in range(iterations):
        boxes = boxes + _step(a, warp(b, boxes))
        boxes = np.clip(boxes, [SCALE[0], -SHIFT] * 2, [SCALE[1], SHIFT] * 2)
    return boxes


def agreement(fixed: Array, moving: Array, boxes: Array, factor: int) -> Array:
    """Return the correlation [N] of two images that were laid over each other, on a small grid."""
    a, b = _shrunk(fixed, factor), warp(_shrunk(moving, factor), boxes)
    edge = max(1, a.shape[-1] // 16)
    a, b = a[:, edge:-edge, edge:-edge], b[:, edge:-edge, edge:-edge]
    a, b = a - a.mean(axis=(1, 2), keepdims=True), b - b.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    found: Array = (a * b).sum(axis=(1, 2)) / np.maximum(norm, 1e-9)
    return found


def _blurred(images: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(images, (0, sigma, sigma))
    return blurred


def _cells(images: Array, factor: int) -> Array:
    """Return the means of cells of `factor` by `factor` pixels."""
    count, side = len(images), images.shape[-1] // factor
    means: Array = images.reshape(count, side, factor, side, factor).mean(axis=(2, 4))
    return means


def _shrunk(images: Array, factor: int) -> Array:
    return _blurred(_cells(images, factor), 0.7)


def _coordinates(side: int) -> Array:
    return ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)


def _weights(side: int, axis: Array) -> Array:
    """Return matrices [N, S, S] of linear interpolation along one axis, boxes' (scale, shift)."""
    at = (axis[:, :1] * _coordinates(side) + axis[:, 1:] + 1) * side / 2 - 0.5
    at = np.clip(at, 0, side - 1)[..., None]
    weights: Array = np.maximum(0, 1 - np.abs(at - np.arange(side))).astype(np.float32)
    return weights


def _step(fixed: Array, warped: Array) -> Array:
    """Return the change of boxes [N, 4] that brings gain * warped + offset nearer to `fixed`."""
    count, side = len(fixed), fixed.shape[-1]
    x, edge = _coordinates(side), max(1, side // 16)
    down, across = np.zeros_like(warped), np.zeros_like(warped)
    down[:, 1:-1] = (warped[:, 2:] - warped[:, :-2]) * (side / 4)
    across[:, :, 1:-1] = (warped[:, :, 2:] - warped[:, :, :-2]) * (side / 4)
    slopes = (down * x[:, None], down, across * x, across, warped, np.ones_like(warped))
    system = np.stack(slopes, axis=1)[..., edge:-edge, edge:-edge].reshape(count, 6, -1)
    goal = fixed[:, edge:-edge, edge:-edge].reshape(count, -1, 1)
    normal = (system @ system.swapaxes(1, 2)).astype(np.float64)
    # A little damping, so that flat images have a solution.
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += np.eye(6) * (1e-4 / 6 * trace + 1e-9)
    solved = np.linalg.solve(normal, (system @ goal).astype(np.float64))[..., 0]
    # Where the images hardly agree yet, the gain is near 0 and says nothing about the step.
    gain = np.where(np.abs(solved[:, 4]) < 0.2, np.inf, solved[:, 4])[:, None]
    return np.clip(solved[:, :4] / gain, -STEP, STEP)
