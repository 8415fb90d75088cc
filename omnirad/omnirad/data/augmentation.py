"""How crops are varied: named policies, each a pure function of (crop, rng, view, modality).

Probabilities are *effective* ones. DINOv2 declares a blur of 1.0 and 0.1 for its two views, and
its wrapper applies it with one minus that, so that what ran was 0.0 and 0.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from omnirad.data import photometric
from omnirad.data.reddino import RedDinoLike
from omnirad.data.sources import Array

ULTRASOUND = "US"


class Policy(Protocol):
    """Varies crops."""

    @property
    def grey(self) -> bool:
        """Whether it takes grey crops; if so, colour images are turned to luma before."""

    def __call__(self, crop: Array, rng: np.random.Generator, view: int, modality: str) -> Array:
        """Return a varied copy.

        Args:
            crop: float32 [S, S], or [S, S, 3] unless `grey`, in [0, 1].
            rng: The only source of randomness.
            view: 0 or 1: which of the two crops this is.
            modality: `CT`, `MR`, `US`, or empty where unknown.
        """


@dataclass(frozen=True, kw_only=True)
class Radiology:
    """Ours, on one grey channel. Unstated in the paper throughout.

    Colour operations are left out (they do nothing to grey), and so is solarising, which would
    make air of bone in CT.
    """

    grey: bool = True
    flip: float = 0.5  # left-right; 0 where the side matters
    rotate: float = 0.3
    degrees: float = 15.0
    window: float = 0.3  # percentiles up to `tail` % from both ends
    tail: float = 10.0
    jitter: float = 0.8  # brightness, contrast and gamma
    brightness: float = 0.4  # factor within 1 ± this
    contrast: float = 0.4
    gamma: tuple[float, float] = (0.7, 1.5)
    invert: float = 0.0  # option: 0.1 for robustness to MONOCHROME1
    low_resolution: float = 0.2
    shares: tuple[float, float] = (0.3, 0.8)  # of the side
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels at 224
    noise: float = 0.2
    noise_sigma: float = 0.05  # at most
    speckle: float = 0.2  # ultrasound only
    speckle_sigma: float = 0.15  # at most

    def __call__(self, crop: Array, rng: np.random.Generator, view: int, modality: str) -> Array:
        """See `Policy`; both views are treated alike."""
        x = crop
        if happens(self.flip, rng):
            x = x[:, ::-1]
        if happens(self.rotate, rng):
            x = photometric.rotated(x, rng.uniform(-self.degrees, self.degrees))
        if happens(self.window, rng):
            low, high = rng.uniform(0, self.tail), rng.uniform(100 - self.tail, 100)
            x = photometric.window(x, low, high)
        if happens(self.jitter, rng):
            x = photometric.brightness(x, around_one(self.brightness, rng))
            x = photometric.contrast(x, around_one(self.contrast, rng))
            x = photometric.gamma(x, rng.uniform(*self.gamma))
        if happens(self.invert, rng):
            x = photometric.invert(x)
        if happens(self.low_resolution, rng):
            x = photometric.low_resolution(x, rng.uniform(*self.shares))
        if happens(self.blur, rng):
            x = photometric.gaussian_blur(x, rng.uniform(*self.sigma))
        if happens(self.noise, rng):
            x = photometric.noise(x, rng.uniform(0, self.noise_sigma), rng)
        if modality == ULTRASOUND and happens(self.speckle, rng):
            x = photometric.speckle(x, rng.uniform(0, self.speckle_sigma), rng)
        return x


@dataclass(frozen=True, kw_only=True)
class DinoV2:
    """DINOv2's policy for global crops, with the probabilities that really were in effect.

    On grey images saturation, hue and the loss of colour do nothing.
    """

    grey: bool = False
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    without_colour: float = 0.2
    blur: tuple[float, float] = (0.0, 0.9)  # of view 0 and view 1
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: tuple[float, float] = (0.0, 0.2)
    threshold: float = 128 / 255

    def __call__(self, crop: Array, rng: np.random.Generator, view: int, modality: str) -> Array:
        """See `Policy`."""
        x = crop
        if happens(self.flip, rng):
            x = x[:, ::-1]
        if happens(self.jitter, rng):
            x = self._jittered(x, rng)
        if happens(self.without_colour, rng):
            x = photometric.without_colour(x)
        if happens(self.blur[view], rng):
            x = photometric.gaussian_blur(x, rng.uniform(*self.sigma))
        if happens(self.solarize[view], rng):
            x = photometric.solarize(x, self.threshold)
        return x

    def _jittered(self, x: Array, rng: np.random.Generator) -> Array:
        """Apply the four jitters in random order, as torchvision's ColorJitter does."""
        steps = (
            (photometric.brightness, around_one(self.brightness, rng)),
            (photometric.contrast, around_one(self.contrast, rng)),
            (photometric.saturation, around_one(self.saturation, rng)),
            (photometric.hue, rng.uniform(-self.hue, self.hue)),
        )
        for position in rng.permutation(len(steps)):
            operation, strength = steps[position]
            x = operation(x, strength)
        return x


def happens(probability: float, rng: np.random.Generator) -> bool:
    """Draw one event; a number is drawn even for 0 and 1, so that streams stay in step."""
    return bool(rng.random() < probability)


def around_one(spread: float, rng: np.random.Generator) -> float:
    """Draw a factor within 1 ± spread."""
    return float(rng.uniform(1 - spread, 1 + spread))


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {"radiology": Radiology(), "dinov2": DinoV2(), "reddino-like": RedDinoLike()}
)
