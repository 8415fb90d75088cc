"""Samples to batches: check, decode and resize once, then serve images in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omnibench.errors import IntegrityError
from omnibench.interfaces import Progress, Silent, Split


def resized_images(
    split: Split, size: int, *, antialias: bool, progress: Progress | None = None
) -> Tensor:
    """Decode every image of a split and squash it to a square.

    Args:
        split: Source; grey images stay on one channel, which saves two thirds of the memory.
        size: Target side in pixels.
        antialias: Low-pass before shrinking (torchvision) or not (OpenCV linear).
        progress: Told about each image.

    Returns:
        [N, C, size, size] with C = 1 if every image is grey, else 3; uint8 where the source is
        uint8 (rounded after resizing, as image libraries do), else float32 in [0, 1].

    Raises:
        IntegrityError: If ids, groups or an image are not what a split promises.
    """
    check_identity(split)
    progress = progress or Silent()
    progress.start("reading images", len(split))
    out: Tensor | None = None
    for index in range(len(split)):
        image = resized_image(split, index, size, antialias=antialias)
        if out is None:
            out = torch.empty((len(split), *image.shape), dtype=image.dtype)
        if image.dtype != out.dtype:
            out, image = as_float(out), as_float(image)
        if image.shape[0] > out.shape[1]:
            out = out.expand(-1, 3, -1, -1).clone()
        out[index] = image
        progress.advance()
    if out is None:
        raise IntegrityError("a split without images cannot be read")
    return out


def resized_image(split: Split, index: int, size: int, *, antialias: bool) -> Tensor:
    """Decode one image and squash it to a square: [C, size, size], uint8 or float32 in [0, 1].

    Raises:
        IntegrityError: If it is not what a split promises.
    """
    array = np.asarray(split.image(index))
    check_image(array, split, index)
    return _square(array, size, antialias)


def check_identity(split: Split) -> None:
    """Raise `IntegrityError` unless ids are int64 [N] and ascend, and groups are int64 [N]."""
    named = (
        {"ids": split.ids} if split.groups is None else {"ids": split.ids, "groups": split.groups}
    )
    for name, numbers in named.items():
        if numbers.dtype != np.int64 or numbers.shape != (len(split),):
            raise IntegrityError(
                f"the {name} of a split of {len(split)} samples are {_described(numbers)}; the "
                "dataset must give one int64 number a sample"
            )
    if not (np.diff(split.ids) > 0).all():
        raise IntegrityError(
            "the ids of a split do not ascend strictly; the dataset must sort its samples by id "
            "and use each id once"
        )


def check_image(image: np.ndarray[Any, Any], split: Split, index: int) -> None:
    """Raise `IntegrityError` unless an image is uint8, or float in [0, 1], of a usable shape."""
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    floating = np.issubdtype(image.dtype, np.floating)
    if not fits or image.size == 0 or not (floating or image.dtype == np.uint8):
        raise IntegrityError(
            f"image {index} of the split (id {split.ids[index]}) is {_described(image)}; the "
            "dataset must give uint8, or float in [0, 1], of shape [H, W] or [H, W, 3]"
        )
    # NaN fails every comparison, so two passes find it without a third.
    if floating and not (image.min() >= 0 and image.max() <= 1):
        raise IntegrityError(
            f"image {index} of the split (id {split.ids[index]}) is {_described(image)} with "
            f"values from {image.min():g} to {image.max():g}; the dataset must scale floating-"
            "point images to [0, 1]"
        )


def check_mask(mask: np.ndarray[Any, Any], split: Split, index: int) -> None:
    """Raise `IntegrityError` unless a mask is uint8 [H, W] of its image's size."""
    size = split.image(index).shape[:2]
    if mask.dtype != np.uint8 or mask.shape != size:
        raise IntegrityError(
            f"mask {index} of the split (id {split.ids[index]}) is {_described(mask)}; the dataset "
            f"must give uint8 of its image's size, {list(size)}"
        )


def _described(array: np.ndarray[Any, Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _square(image: np.ndarray[Any, Any], size: int, antialias: bool) -> Tensor:
    """Return [C, size, size] of an image [H, W] or [H, W, 3], uint8 or float32."""
    array = np.ascontiguousarray(image, dtype=None if image.dtype == np.uint8 else np.float32)
    tensor = torch.from_numpy(array)
    tensor = tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
    if tensor.shape[-2:] == (size, size):
        return tensor
    batch = tensor[None].contiguous()
    return F.interpolate(
        batch, size=(size, size), mode="bilinear", align_corners=False, antialias=antialias
    )[0]


def as_float(x: Tensor) -> Tensor:
    """Return images as floats in [0, 1]."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def resized_mask(split: Split, index: int, size: int) -> tuple[Tensor, Tensor]:
    """Return a mask as uint8 [size, size], nearest neighbour, and the values it held before.

    The values are bool [256]: shrinking may lose the last pixel of one.

    Raises:
        IntegrityError: If the mask is not uint8 [H, W] of its image's size.
    """
    array = np.asarray(split.target(index))
    check_mask(array, split, index)
    mask = torch.from_numpy(np.ascontiguousarray(array))
    resized = F.interpolate(mask[None, None], size=(size, size), mode="nearest")[0, 0]
    return resized, torch.from_numpy(np.bincount(array.ravel(), minlength=256) > 0)


def labels(split: Split) -> Tensor:
    """Return the labels of a split as int64 [N]."""
    return torch.tensor([int(split.target(i)) for i in range(len(split))], dtype=torch.int64)


def as_images(batch: Tensor, device: torch.device | str) -> Tensor:
    """Move [B, C, H, W] (uint8, or float in [0, 1]) to `device` as float RGB in [0, 1]."""
    if torch.device(device).type == "cuda" and not batch.is_cuda:
        batch = batch.pin_memory()
    batch = batch.to(device, non_blocking=True)
    images = as_float(batch)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def index_batches(
    count: int, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yield index tensors in order, or shuffled by `generator`; the last may be smaller."""
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    yield from torch.split(order, batch_size)
