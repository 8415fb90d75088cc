"""What an audit keeps of an image: digests of its pixels, a thumbnail, size and range."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from PIL import Image

from omnibench.audit import symmetries
from omnibench.audit.cases import Cases
from omnibench.audit.rows import Rows, kept
from omnibench.errors import IntegrityError
from omnibench.features.cache import FeatureStore
from omnibench.interfaces import Progress

Array = np.ndarray[Any, Any]

SIDE = 128  # of thumbnails, in pixels: what near-duplicates are compared at
DIGEST = 16  # bytes
SOUND, CONSTANT, UNREADABLE, INVALID = range(4)  # states of an image

PRINT = np.dtype(
    [
        ("pixels", "u1", (DIGEST,)),  # equal where all pixels are equal
        ("turned", "u1", (DIGEST,)),  # equal where they are under a symmetry of the square
        ("thumbnail", "u1", (SIDE, SIDE)),
        ("height", "i4"),
        ("width", "i4"),
        ("channels", "i4"),
        ("floating", "?"),
        ("low", "f4"),  # smallest, largest and mean value as stored
        ("high", "f4"),
        ("mean", "f4"),
        ("state", "u1"),
    ]
)
# What is held in memory of all images; thumbnails are read when two are compared.
SMALL = [name for name in PRINT.names or () if name != "thumbnail"]


def prints(cases: Cases, store: FeatureStore | None, method: str, progress: Progress) -> Rows:
    """Return the prints of all samples, reading each image once."""

    def compute(start: int, stop: int) -> Array:
        rows = np.zeros(stop - start, PRINT)
        for place, position in enumerate(range(start, stop)):
            _fill(rows, place, cases, position)
            progress.advance()
        return rows

    identity = {"prints": method, **cases.identity()}
    rows = kept(
        store, identity, PRINT, len(cases), compute, what="reading images", progress=progress
    )
    if store is not None and (small(rows)["state"] == UNREADABLE).any():
        store.discard(identity)  # a file or disk that failed today is asked again tomorrow
    return rows


def small(rows: Rows) -> Array:
    """Return all prints without thumbnails, a structured array [N]."""
    found = np.empty(len(rows), [(name, PRINT.fields[name][0]) for name in SMALL])  # type: ignore[index]
    for start in range(0, len(rows), 1024):
        stop = min(start + 1024, len(rows))
        block = rows.read(np.arange(start, stop))
        for name in SMALL:
            found[name][start:stop] = block[name]
    return found


def _fill(rows: Array, place: int, cases: Cases, position: int) -> None:
    """Write the print of one image."""
    row = rows[place]
    try:
        image = np.asarray(cases.image(position))
    except IntegrityError:
        row["state"] = UNREADABLE
        return
    row["floating"] = image.dtype.kind == "f"
    row["height"], row["width"], row["channels"] = (*image.shape, 1, 0, 0)[:3]
    if not _keeps_contract(image):
        row["state"] = INVALID
        return
    row["low"], row["high"], row["mean"] = image.min(), image.max(), image.mean(dtype=np.float64)
    digests = [_digest(_plain(image), symmetry) for symmetry in symmetries.ALL]
    row["pixels"] = np.frombuffer(digests[0], np.uint8)
    row["turned"] = np.frombuffer(min(digests), np.uint8)
    row["state"] = CONSTANT if row["low"] == row["high"] else SOUND
    rows["thumbnail"][place] = thumbnail(image)


def _keeps_contract(image: Array) -> bool:
    """Tell whether an image is [H, W] or [H, W, 3], uint8, or floats in [0, 1]."""
    shaped = image.size > 0 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    if not shaped or image.dtype == np.uint8:
        return shaped
    return image.dtype.kind == "f" and bool(np.all((image >= 0) & (image <= 1)))


def _plain(image: Array) -> Array:
    """Return [H, W] where three channels are equal, so that grey is grey however it is stored."""
    grey = image.ndim == 3 and (image == image[..., :1]).all()
    return np.ascontiguousarray(image[..., 0]) if grey else image


def _digest(image: Array, symmetry: int) -> bytes:
    planes = image if image.ndim == 2 else np.moveaxis(image, 2, 0)
    pixels = np.ascontiguousarray(symmetries.turned(planes, symmetry))
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=DIGEST)
    digest.update(pixels.data)
    return digest.digest()


def thumbnail(image: Array) -> Array:
    """Return an image as grey uint8 [SIDE, SIDE], squashed, its range stretched to 0 … 255."""
    grey = image.astype(np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(axis=2)
    low, high = float(grey.min()), float(grey.max())
    grey = (grey - low) * (255.0 / max(high - low, 1e-12))
    resized = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    stretched: Array = np.clip(np.rint(np.asarray(resized)), 0, 255).astype(np.uint8)
    return stretched
