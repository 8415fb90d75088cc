"""Operations on the pixels of a crop; pure functions, randomness only through `rng`.

Crops are float32 [S, S] (grey) or [S, S, 3] (RGB) in [0, 1], and so are the results. Strengths are
numbers that policies draw. Widths in pixels are meant at 224 pixels and shrink with the crop, so
that a blur hides the same anatomy at every resolution.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from omnirad.data.sources import Array

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
REFERENCE = 224  # pixels at which widths are stated
GRID = 56  # percentiles are taken of about GRID × GRID pixels


def brightness(x: Array, factor: float) -> Array:
    """Multiply."""
    return clipped(x * np.float32(factor))


def contrast(x: Array, factor: float) -> Array:
    """Scale the distance from the mean grey value."""
    mean = np.float32(grey(x).mean())
    return clipped(mean + np.float32(factor) * (x - mean))


def gamma(x: Array, exponent: float) -> Array:
    """Raise to a power: above 1 darker, below 1 brighter."""
    raised: Array = np.power(x, np.float32(exponent))
    return raised


def window(x: Array, low: float, high: float) -> Array:
    """Stretch what lies between two percentiles to [0, 1], as a narrower display window does."""
    step = max(1, x.shape[0] // GRID)
    bottom, top = np.percentile(grey(x)[::step, ::step], (low, high))
    if top <= bottom:
        return x
    return clipped((x - np.float32(bottom)) / np.float32(top - bottom))


def invert(x: Array) -> Array:
    """Turn white to black, as between MONOCHROME2 and MONOCHROME1."""
    return np.float32(1) - x


def solarize(x: Array, threshold: float) -> Array:
    """Invert what is at least as bright as the threshold."""
    return np.where(x >= np.float32(threshold), np.float32(1) - x, x)


def posterize(x: Array, bits: int) -> Array:
    """Keep the upper bits of eight."""
    step = np.float32(2 ** (8 - bits))
    kept: Array = np.floor(x * np.float32(255) / step) * step / np.float32(255)
    return kept


def saturation(x: Array, factor: float) -> Array:
    """Scale the distance of colours from their grey; grey stays as it is."""
    if x.ndim == 2:
        return x
    plain = grey(x)[..., None]
    return clipped(plain + np.float32(factor) * (x - plain))


def hue(x: Array, shift: float) -> Array:
    """Turn colours by a share of the circle in [-0.5, 0.5]; grey stays as it is."""
    if x.ndim == 2:
        return x
    from torchvision.transforms.v2 import functional as vision

    return _image(vision.adjust_hue(_planes(x), shift), x)


def grey(x: Array) -> Array:
    """Return the luma, float32 [S, S]."""
    return x if x.ndim == 2 else x @ LUMA


def without_colour(x: Array) -> Array:
    """Replace every channel by the luma."""
    return x if x.ndim == 2 else np.repeat(grey(x)[..., None], 3, axis=2)


def gaussian_blur(x: Array, sigma: float) -> Array:
    """Blur; sigma in pixels at 224, the kernel reaches 4 pixels there as DINOv2's does."""
    share = x.shape[0] / REFERENCE
    sigmas = (sigma * share, sigma * share, 0)[: x.ndim]
    radius = max(1, round(4 * share))
    blurred: Array = ndimage.gaussian_filter(x, sigmas, radius=(radius, radius, 0)[: x.ndim])
    return blurred


def noise(x: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Add Gaussian noise, the same in all channels."""
    return clipped(x + np.float32(sigma) * _normal(x, rng))


def speckle(x: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Multiply by Gaussian noise around 1, the grain of coherent imaging such as ultrasound."""
    return clipped(x * (1 + np.float32(sigma) * _normal(x, rng)))


def low_resolution(x: Array, share: float) -> Array:
    """Shrink to a share of the side and enlarge again."""
    planes = _planes(x)
    small = functional.interpolate(planes, size=max(1, round(x.shape[0] * share)), mode="area")
    return _image(functional.interpolate(small, size=x.shape[0], mode="bilinear"), x)


def rotated(x: Array, degrees: float) -> Array:
    """Turn about the centre; what comes from outside is the mirror image, never an empty corner."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centres = (np.arange(x.shape[0], dtype=np.float32) * 2 + 1) / x.shape[0] - 1  # in [-1, 1]
    across, down = centres[None, :], centres[:, None]
    grid = np.stack([cosine * across + sine * down, cosine * down - sine * across], axis=2)
    turned = functional.grid_sample(
        _planes(x),
        torch.from_numpy(grid.astype(np.float32))[None],
        padding_mode="reflection",
        align_corners=False,
    )
    return _image(turned, x)


def clipped(x: Array) -> Array:
    """Return values within [0, 1]."""
    return np.clip(x, np.float32(0), np.float32(1))


def _normal(x: Array, rng: np.random.Generator) -> Array:
    drawn: Array = rng.standard_normal(x.shape[:2], dtype=np.float32)
    return drawn if x.ndim == 2 else drawn[..., None]


def _planes(x: Array) -> torch.Tensor:
    """Return [1, C, S, S]."""
    planes = torch.from_numpy(np.ascontiguousarray(x))
    return (planes[None] if x.ndim == 2 else planes.permute(2, 0, 1))[None]


def _image(planes: torch.Tensor, like: Array) -> Array:
    """Return [1, C, S, S] in the shape of an image."""
    image: Array = (planes[0, 0] if like.ndim == 2 else planes[0].permute(1, 2, 0)).numpy()
    return np.ascontiguousarray(image)
