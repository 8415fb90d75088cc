"""Images and masks of a split decoded and resized once, shared by encoders, seeds and processes."""

from __future__ import annotations

import torch
from torch import Tensor

from omnibench.features.cache import FeatureStore
from omnibench.features.keys import image_identity
from omnibench.features.rows import (
    Column,
    Layout,
    Picked,
    Rows,
    StoredRows,
    Tensors,
    computed_once,
    producer,
)
from omnibench.forward import Images
from omnibench.interfaces import Dataset, Progress, Split
from omnibench.loading import (
    as_float,
    check_identity,
    resized_image,
    resized_images,
    resized_mask,
)


class _Wider(Exception):
    """An image that does not fit the layout which earlier ones suggested."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.layout = layout


def images_of(
    store: FeatureStore | None,
    dataset: Dataset,
    split: str,
    size: int,
    antialias: bool,
    *,
    progress: Progress,
) -> Images:
    """Return the images of a split, squashed to a square: the values of `loading.resized_images`.

    Args:
        store: Where decoded images are kept; None keeps them in memory.
        dataset: Source.
        split: Name of the split.
        size: Target side in pixels.
        antialias: Low-pass before shrinking.
        progress: Told about each decoded image.

    Raises:
        IntegrityError: If ids, groups or an image are not what a split promises.
    """
    source = dataset.split(split)
    if store is not None and len(source):
        stored = _stored_images(store, dataset, split, size, antialias, progress)
        if stored is not None:
            return stored
    return resized_images(source, size, antialias=antialias, progress=progress)


def masks_of(
    store: FeatureStore | None, dataset: Dataset, split: str, size: int, progress: Progress
) -> Rows:
    """Return the masks of a split: `mask` uint8 [S, S], `present` bool [256] of its native size.

    Raises:
        IntegrityError: If a mask is not uint8 [H, W] of its image's size.
    """
    source = dataset.split(split)

    def compute(index: Tensor) -> Tensors:
        found = [resized_mask(source, row, size) for row in index.tolist()]
        masks, present = zip(*found, strict=True)
        return {"mask": torch.stack(masks), "present": torch.stack(present)}

    return computed_once(
        store,
        image_identity(dataset, split, "masks", size, False),
        Layout([Column("mask", "uint8", (size, size)), Column("present", "bool", (256,))]),
        len(source),
        compute,
        what=f"{len(source)} {split} masks",
        advance=progress.advance,
    )


def _stored_images(
    store: FeatureStore,
    dataset: Dataset,
    split: str,
    size: int,
    antialias: bool,
    progress: Progress,
) -> Images | None:
    """Return images kept on disk, or None where there is no room.

    Grey images take one channel and 8-bit ones a byte; when one needs more, all are written anew.
    """
    source, count = dataset.split(split), len(dataset.split(split))
    check_identity(source)
    identity = image_identity(dataset, split, "images", size, antialias)
    for layout in _layouts(size):
        if shards := store.find({**identity, "layout": layout}, count):
            return Picked(StoredRows(shards, layout), "image")
    layout = _layout(resized_image(source, 0, size, antialias=antialias))
    while True:
        progress.start(f"reading {split} images", count)
        try:
            shards = store.obtain(
                {**identity, "layout": layout},
                count,
                row_bytes=layout.nbytes,
                shard_rows=layout.shard_rows,
                produce=producer(
                    layout, _Reader(source, layout, size, antialias), progress.advance
                ),
                what=f"{count} decoded {split} images",
            )
        except _Wider as wider:
            store.discard({**identity, "layout": layout})
            layout = wider.layout
        else:
            return Picked(StoredRows(shards, layout), "image") if shards else None


class _Reader:
    """Decodes images of a split into a layout."""

    def __init__(self, split: Split, layout: Layout, size: int, antialias: bool) -> None:
        self.split, self.layout, self.size, self.antialias = split, layout, size, antialias

    def __call__(self, index: Tensor) -> Tensors:
        return {"image": torch.stack([self._fitted(row) for row in index.tolist()])}

    def _fitted(self, row: int) -> Tensor:
        image = resized_image(self.split, row, self.size, antialias=self.antialias)
        channels, floating = self.layout[0].shape[0], self.layout[0].dtype == "float32"
        if image.shape[0] > channels or (image.dtype == torch.float32 and not floating):
            widest = max(image.shape[0], channels), floating or image.dtype == torch.float32
            raise _Wider(_wide(self.size, *widest))
        return (as_float(image) if floating else image).expand(channels, -1, -1)


def _wide(size: int, channels: int, floating: bool) -> Layout:
    return Layout([Column("image", "float32" if floating else "uint8", (channels, size, size))])


def _layout(image: Tensor) -> Layout:
    return _wide(image.shape[-1], image.shape[0], image.dtype == torch.float32)


def _layouts(size: int) -> list[Layout]:
    return [_wide(size, channels, floating) for channels in (1, 3) for floating in (False, True)]
