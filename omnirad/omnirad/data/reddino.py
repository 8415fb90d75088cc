"""The policy of OmniRad's sibling RedDino, without what makes no sense in radiology.

RedDino draws 4 of 33 operations of albumentations, each then applied with probability 0.85. Kept
here are blurs, local and global equalisation, sharpening, embossing, tone, noise, quantisation,
inversion, loss of resolution and JPEG; rain, snow, fog, sun flare, shadow and colour are not. Its
strengths are unstated here: they are albumentations' defaults, rounded.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from omnirad.data import photometric
from omnirad.data.sources import Array

Operation = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True, kw_only=True)
class RedDinoLike:
    """Four random operations and the symmetries of the square (see `augmentation.Policy`)."""

    grey: bool = True
    operations: int = 4
    probability: float = 0.85  # of each operation drawn, and of each symmetry

    def __call__(self, crop: Array, rng: np.random.Generator, view: int, modality: str) -> Array:
        """See `augmentation.Policy`; both views are treated alike."""
        x = crop
        chosen = rng.choice(len(OPERATIONS), size=self.operations, replace=False)
        for position in chosen:
            if rng.random() < self.probability:
                x = OPERATIONS[position](x, rng)
        if rng.random() < self.probability:
            x = x[:, ::-1]
        if rng.random() < self.probability:
            x = x[::-1]
        if rng.random() < self.probability:
            x = np.rot90(x, int(rng.integers(4)))
        return x


def clahe(x: Array, tiles: int, limit: float) -> Array:
    """Equalise locally with limited contrast (Zuiderveld, Graphics Gems IV, 1994).

    Args:
        x: float32 [S, S] in [0, 1].
        tiles: Tiles a side, each with its own curve; curves are blended in between.
        limit: Highest share of a grey value, in multiples of the uniform share.
    """
    levels = _bytes(x).astype(np.int64)
    side = x.shape[0]
    edges = np.linspace(0, side, tiles + 1).round().astype(int)
    curves = np.empty((tiles, tiles, 256), dtype=np.float32)
    for i in range(tiles):
        for j in range(tiles):
            tile = levels[edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
            share = np.bincount(tile.ravel(), minlength=256) / max(1, tile.size)
            kept = np.minimum(share, limit / 256)
            curves[i, j] = np.cumsum(kept + (1 - kept.sum()) / 256)
    place = np.clip((np.arange(side) + 0.5) * tiles / side - 0.5, 0, tiles - 1)
    low = place.astype(int)
    high = np.minimum(low + 1, tiles - 1)
    weight = (place - low).astype(np.float32)
    down, across = weight[:, None], weight[None, :]
    top = (1 - across) * curves[low[:, None], low, levels] + across * curves[
        low[:, None], high, levels
    ]
    bottom = (1 - across) * curves[high[:, None], low, levels] + across * curves[
        high[:, None], high, levels
    ]
    return photometric.clipped((1 - down) * top + down * bottom)


def _gaussian_blur(x: Array, rng: np.random.Generator) -> Array:
    return photometric.gaussian_blur(x, rng.uniform(0.5, 3.0))


def _box_blur(x: Array, rng: np.random.Generator) -> Array:
    blurred: Array = ndimage.uniform_filter(x, _width(x, rng))
    return blurred


def _median_blur(x: Array, rng: np.random.Generator) -> Array:
    return _float(_picture(x).filter(ImageFilter.MedianFilter(3)))


def _motion_blur(x: Array, rng: np.random.Generator) -> Array:
    blurred: Array = ndimage.uniform_filter1d(x, _width(x, rng), axis=int(rng.integers(2)))
    return blurred


def _clahe(x: Array, rng: np.random.Generator) -> Array:
    return clahe(x, tiles=8, limit=rng.uniform(1, 4))


def _equalize(x: Array, rng: np.random.Generator) -> Array:
    return _float(ImageOps.equalize(_picture(x)))


def _sharpen(x: Array, rng: np.random.Generator) -> Array:
    return _blend(x, _picture(x).filter(ImageFilter.SHARPEN), rng.uniform(0.2, 0.5))


def _emboss(x: Array, rng: np.random.Generator) -> Array:
    return _blend(x, _picture(x).filter(ImageFilter.EMBOSS), rng.uniform(0.2, 0.5))


def _gamma(x: Array, rng: np.random.Generator) -> Array:
    return photometric.gamma(x, rng.uniform(0.8, 1.2))


def _brightness_contrast(x: Array, rng: np.random.Generator) -> Array:
    brighter = photometric.brightness(x, rng.uniform(0.8, 1.2))
    return photometric.contrast(brighter, rng.uniform(0.8, 1.2))


def _tone_curve(x: Array, rng: np.random.Generator) -> Array:
    """Bend the curve at a quarter and at three quarters, as a cubic Bézier through the corners."""
    low, high = np.clip(rng.normal((0.25, 0.75), 0.1), 0, 1).astype(np.float32)
    return photometric.clipped(3 * (1 - x) ** 2 * x * low + 3 * (1 - x) * x**2 * high + x**3)


def _noise(x: Array, rng: np.random.Generator) -> Array:
    return photometric.noise(x, rng.uniform(0.01, 0.1), rng)


def _speckle(x: Array, rng: np.random.Generator) -> Array:
    return photometric.speckle(x, rng.uniform(0.02, 0.1), rng)


def _posterize(x: Array, rng: np.random.Generator) -> Array:
    return photometric.posterize(x, 4)


def _solarize(x: Array, rng: np.random.Generator) -> Array:
    return photometric.solarize(x, 128 / 255)


def _invert(x: Array, rng: np.random.Generator) -> Array:
    return photometric.invert(x)


def _downscale(x: Array, rng: np.random.Generator) -> Array:
    return photometric.low_resolution(x, rng.uniform(0.25, 0.5))


def _jpeg(x: Array, rng: np.random.Generator) -> Array:
    buffer = io.BytesIO()
    _picture(x).save(buffer, "JPEG", quality=int(rng.integers(50, 100)))
    return _float(Image.open(buffer))


OPERATIONS: tuple[Operation, ...] = (
    _gaussian_blur, _box_blur, _median_blur, _motion_blur, _clahe, _equalize, _sharpen, _emboss,
    _gamma, _brightness_contrast, _tone_curve, _noise, _speckle, _posterize, _solarize, _invert,
    _downscale, _jpeg,
)  # fmt: skip


def _width(x: Array, rng: np.random.Generator) -> int:
    """Draw a width of 3 to 7 pixels at 224; at least 2."""
    return max(2, int(0.5 + rng.uniform(3, 7) * x.shape[0] / photometric.REFERENCE))


def _blend(x: Array, other: Image.Image, share: float) -> Array:
    return np.float32(1 - share) * x + np.float32(share) * _float(other)


def _bytes(x: Array) -> Array:
    levels: Array = np.rint(x * 255).astype(np.uint8)
    return levels


def _picture(x: Array) -> Image.Image:
    return Image.fromarray(_bytes(x))


def _float(picture: Image.Image) -> Array:
    return np.asarray(picture).astype(np.float32) / np.float32(255)
