"""What a frozen teacher sees in fixed views of every image: computed once, kept in one file.

A view is a crop without any other variation. The first shows the whole image, each further one a
box that is a function of the image's id, so that features serve runs of every seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from omnirad.architectures import PATCH
from omnirad.atomic import disk_errors
from omnirad.data.crops import SCALE, Box, normalised, random_box, resized
from omnirad.data.decoding import luma
from omnirad.data.sources import Array, Source
from omnirad.errors import IntegrityError
from omnirad.progress import Progress
from omnirad.randomness import numpy_generator

CHUNK = 64  # images a forward pass
KEY = "identity"
NAMES = ("crops", "cls", "mean", "patches")


@dataclass(frozen=True)
class TeacherFeatures:
    """A teacher's tokens after its final norm, of V views of N images, and the views."""

    crops: Tensor  # what a student sees: grey uint8 [V, N, S, S]
    cls: Tensor  # float16 [V, N, D]
    mean: Tensor  # mean of the patch tokens, float16 [V, N, D]
    patches: Tensor  # averaged to a coarse grid of G × G, float16 [V, N, G·G, D]

    @property
    def views(self) -> int:
        """V."""
        return len(self.cls)


def view_box(source: Source, index: int, view: int, image: Array) -> Box:
    """Return the part of an image [H, W] that a view shows; view 0 is the whole image."""
    height, width = image.shape[:2]
    if view == 0:
        return Box(0, 0, height, width)
    sample = source.sample(index)
    rng = numpy_generator("distillation view", sample.source, ascii(sample.id), view)
    return random_box(height, width, rng, SCALE)


def view_crops(source: Source, index: int, view: int, sizes: Sequence[int]) -> list[Array]:
    """Return a view of an image in several sizes, grey uint8 [size, size]."""
    image = luma(source.image(index))
    box = view_box(source, index, view, image)
    return [resized(image, box, size, size) for size in sizes]


@torch.inference_mode()
def compute(
    teacher: VisionTransformer,
    source: Source,
    *,
    views: int,
    size: int,
    crop_size: int,
    progress: Progress,
) -> TeacherFeatures:
    """Return what a teacher sees, computed in bfloat16, and the crops for a student.

    Args:
        teacher: With a class token; its weights are rounded to bfloat16.
        source: N images.
        views: V.
        size: Side of the crops that the teacher sees, pixels.
        crop_size: S, side of the student's crops; its grid of tokens is G × G.
        progress: Where to report.
    """
    teacher = teacher.to(torch.bfloat16).eval()
    places = [(view, index) for view in range(views) for index in range(len(source))]
    progress.start("teacher's features", len(places))
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(places), CHUNK):
        chosen = places[start : start + CHUNK]
        shown = [view_crops(source, index, view, (crop_size, size)) for view, index in chosen]
        small, large = (torch.from_numpy(np.stack(c)) for c in zip(*shown, strict=True))
        images = normalised(large[:, None]).to(torch.bfloat16)
        tokens = teacher.forward_features(images).float()
        parts.append((small, *_tokens(tokens, crop_size // PATCH)))
        progress.advance(len(chosen))
    columns = (torch.cat(column) for column in zip(*parts, strict=True))
    return TeacherFeatures(*(c.reshape(views, len(source), *c.shape[1:]) for c in columns))


def _tokens(tokens: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split tokens [B, 1 + n², D] into class, mean and coarse patch tokens, as float16."""
    cls, patches = tokens[:, 0], tokens[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    planes = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
    coarse = functional.adaptive_avg_pool2d(planes, grid).flatten(2).transpose(1, 2)
    return cls.half(), patches.mean(dim=1).half(), coarse.half()


def load(path: Path, identity: dict[str, Any]) -> TeacherFeatures | None:
    """Return kept features, or None if there are none.

    Raises:
        IntegrityError: If they are damaged, or of other images, views or another teacher.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {}).get(KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        features = TeacherFeatures(**tensors)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"{path} cannot be read ({error}); delete it") from error
    if found != identity:
        names = [name for name in identity if found.get(name) != identity[name]]
        raise IntegrityError(
            f"{path} holds features that differ in {', '.join(names)}; name another --cache"
        )
    return features


def save(path: Path, features: TeacherFeatures, identity: dict[str, Any]) -> None:
    """Write features and what they are of."""
    partial = path.with_name(f".{path.name}.partial")
    tensors = {name: getattr(features, name).contiguous() for name in NAMES}
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={KEY: json.dumps(identity)})
        partial.replace(path)


class Whitening:
    """Principal components of features, scaled to variances that hardly differ.

    A frozen teacher's cosines are ruled by a few directions of large variance, which for grey
    radiographs mostly say what all images have in common.

    Args:
        features: Float [n, D].
        weights: Of each row, [n].
        components: How many are kept.
        floor: A component of variance v is divided by √(v + floor · the largest variance).
    """

    def __init__(self, features: Tensor, weights: Tensor, components: int, floor: float) -> None:
        share = (weights / weights.sum()).double()[:, None]
        rows = features.double()
        mean = (share * rows).sum(dim=0)
        centred = rows - mean
        variances, directions = torch.linalg.eigh((share * centred).T @ centred)
        variances = variances.flip(0)[:components]
        directions = directions.flip(1)[:, :components]
        self.mean = mean.float()
        scales = (variances.clamp(min=0) + floor * variances[0]).rsqrt()
        self.projection = (directions * scales).float()

    def __call__(self, features: Tensor) -> Tensor:
        """Return unit vectors [..., components] of features [..., D]."""
        found = (features.float() - self.mean) @ self.projection
        return functional.normalize(found, dim=-1)


def joint(features: TeacherFeatures) -> Tensor:
    """Return class and mean patch tokens side by side, [V, N, 2 D]."""
    return torch.cat([features.cls, features.mean], dim=-1)


def rarity(codes: Sequence[int] | Array) -> Tensor:
    """Return weights of images under which a stratum of n counts as √n, [N]."""
    sizes = np.bincount(codes)
    return torch.from_numpy(1 / np.sqrt(sizes[np.asarray(codes)]))
