"""Flips, small rotations and resized crops, drawn per sample and applied per batch.

Stated by the paper without magnitudes (OmniRad, Sec. 3.2); magnitudes are the released code's:
horizontal flip with p = 0.5, rotation uniform in [-7, 7] degrees with zero fill, crop of scale
(0.85, 1) and aspect (3/4, 4/3) resized to the full side.

Two ways to apply one and the same draw:

- `affine` joins the three into one matrix and resamples once, bilinearly, in floats, for the
  whole batch.
- `released` does what the authors' per-image pipeline does on uint8: rotate with nearest
  neighbour, then crop and resize bilinearly with rounding to 8 bits. It is
  slower, and its nearest-neighbour step displaces a pixel by up to half its width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

FLIP_PROBABILITY = 0.5
DEGREES = 7.0
SCALE = (0.85, 1.0)
RATIO = (3 / 4, 4 / 3)
_SLICE = 8  # images resampled at a time: their positions stay in the processor's cache
_ATTEMPTS = 10  # torchvision draws at most so many crops and then takes the whole image


class Draw(NamedTuple):
    """What was drawn for B square images, on the CPU."""

    flip: Tensor  # bool [B]
    degrees: Tensor  # float [B], counter-clockwise
    box: Tensor  # int [B, 4]: left, top, width, height in pixels, inside the image


def draw(count: int, size: int, generator: torch.Generator) -> Draw:
    """Draw parameters for `count` images of side `size`; depends on nothing but its arguments."""
    flip = torch.rand(count, generator=generator) < FLIP_PROBABILITY
    degrees = _uniform((count,), -DEGREES, DEGREES, generator)
    return Draw(flip, degrees, _boxes(count, size, generator))


def affine(images: Tensor, drawn: Draw) -> Tensor:
    """Apply a draw with one bilinear resampling; a pure function.

    Args:
        images: [B, C, S, S], uint8 or float in [0, 1], on any device.
        drawn: Parameters of the B images.

    Returns:
        Float [B, C, S, S] in [0, 1]; black where the rotation uncovers nothing.
    """
    theta = _matrices(drawn, images.shape[-1]).to(images.device)
    few = zip(torch.split(images, _SLICE), torch.split(theta, _SLICE), strict=True)
    return torch.cat([_resampled(*pair) for pair in few])


def released(images: Tensor, drawn: Draw) -> Tensor:
    """Apply a draw image by image with torchvision, as the authors' code does.

    Args:
        images: [B, C, S, S], uint8 or float in [0, 1].
        drawn: Parameters of the B images.

    Returns:
        [B, C, S, S] of the dtype given.
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    size = images.shape[-1]
    out = torch.empty_like(images)
    for index, image in enumerate(images):
        flipped = tv.horizontal_flip(image) if drawn.flip[index] else image
        turned = tv.rotate(
            flipped, float(drawn.degrees[index]), interpolation=InterpolationMode.NEAREST
        )
        left, top, width, height = drawn.box[index].tolist()
        out[index] = tv.resized_crop(
            turned, top, left, height, width, size=[size, size], antialias=True
        )
    return out


def _resampled(images: Tensor, theta: Tensor) -> Tensor:
    """Sample images [b, C, S, S] where theta [b, 2, 3] says."""
    x = images.float() / 255 if images.dtype == torch.uint8 else images
    source = _sources(theta, x.shape[-1])
    # Border padding keeps the rim of an unrotated crop at full brightness, as resizing does.
    out = F.grid_sample(x, source.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    return out.masked_fill_(source.abs().amax(dim=1, keepdim=True) > 1, 0)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _boxes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw crops as torchvision's RandomResizedCrop does, all attempts at once: [B, 4]."""
    shape = (count, _ATTEMPTS)
    area = size * size * _uniform(shape, *SCALE, generator)
    aspect = _uniform(shape, math.log(RATIO[0]), math.log(RATIO[1]), generator).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (width <= size) & (height <= size)
    first = fits.int().argmax(dim=1, keepdim=True)
    whole = ~fits.any(dim=1)
    width = width.gather(1, first)[:, 0].masked_fill(whole, size)
    height = height.gather(1, first)[:, 0].masked_fill(whole, size)
    left = ((size - width + 1) * torch.rand(count, generator=generator)).floor()
    top = ((size - height + 1) * torch.rand(count, generator=generator)).floor()
    return torch.stack([left, top, width, height], dim=1).long()


def _matrices(drawn: Draw, size: int) -> Tensor:
    """Return theta [B, 2, 3] that takes an output position in [-1, 1] to its source.

    Read from right to left: into the crop, back through the rotation, back through the flip.
    """
    left, top, width, height = (drawn.box.float() / size).unbind(dim=1)
    zero = torch.zeros_like(left)
    crop = _rows((width, zero, 2 * left + width - 1), (zero, height, 2 * top + height - 1))
    cos, sin = torch.cos(torch.deg2rad(drawn.degrees)), torch.sin(torch.deg2rad(drawn.degrees))
    rotation = _rows((cos, -sin), (sin, cos))
    mirror = torch.where(drawn.flip, -1.0, 1.0)
    flip = _rows((mirror, zero), (zero, torch.ones_like(zero)))
    return flip @ rotation @ crop


def _sources(theta: Tensor, size: int) -> Tensor:
    """Return source positions [B, 2, S, S] (x, y) in [-1, 1] of every output pixel.

    Each is a sum of a column's and a row's part, which costs a third of `F.affine_grid`.
    """
    centres = (2 * torch.arange(size, device=theta.device) + 1) / size - 1
    columns = theta[:, :, 0, None] * centres
    rows = theta[:, :, 1, None] * centres + theta[:, :, 2, None]
    return columns[:, :, None, :] + rows[:, :, :, None]


def _rows(*rows: tuple[Tensor, ...]) -> Tensor:
    """Stack entries [B] to matrices [B, rows, columns]."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
