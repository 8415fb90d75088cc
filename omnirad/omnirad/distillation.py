"""Teaches a small encoder what a large frozen one sees, before or instead of the recipe.

Its class token learns the teacher's class and mean patch tokens, whitened, and its patch tokens
the teacher's of the same place; both by their cosine, without a head between, so that neighbours
in the class token are the teacher's neighbours. Ours; the paper has no such stage.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from omnirad.architectures import require_image_size
from omnirad.data.augmentation import Radiology, happens
from omnirad.data.crops import normalised
from omnirad.data.sampling import balanced
from omnirad.data.sources import Array, Source, stratum_codes
from omnirad.errors import RunFailed, UsageError
from omnirad.progress import Progress
from omnirad.randomness import numpy_generator
from omnirad.runlog import RunLog
from omnirad.schedules import cosine, linear
from omnirad.teacher_features import TeacherFeatures, Whitening, joint, rarity

# Where things are must stay: targets are a place's.
POLICY = replace(Radiology(), flip=0.0, rotate=0.0)
LOG_EVERY = 10  # steps


@dataclass(frozen=True, kw_only=True)
class DistilRecipe:
    """How an encoder is distilled; every value is ours, none in the paper."""

    teacher_size: int = 84  # pixels of the teacher's crops
    crop_size: int = 56  # of the student's
    views: int = 1  # fixed crops an image, the first of which is the whole image
    # Of the whitening, a share of the largest variance; 0.01 was worse, 0.0001 no better.
    floor: float = 0.001
    patch_weight: float = 0.5  # of the patch tokens' loss; the class token's has 1
    epochs: int = 6  # each shows as many crops as there are images
    batch_size: int = 64
    lr: float = 1e-3
    min_lr: float = 1e-6
    warmup: float = 0.1  # share of all steps
    weight_decay: float = 0.04
    clip_norm: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        for size in (self.teacher_size, self.crop_size):
            require_image_size(size)
        if self.crop_size > self.teacher_size:
            raise UsageError(
                f"crop_size {self.crop_size} exceeds teacher_size {self.teacher_size}; the "
                "teacher's patches are averaged to the student's grid, so it must be at least as "
                "large"
            )
        for field in fields(self):
            if getattr(self, field.name) <= 0 and field.name not in ("warmup", "weight_decay"):
                raise UsageError(f"{field.name} is {getattr(self, field.name)}; give more than 0")


class DistilBatches:
    """Crops and what the teacher saw in them, as functions of (seed, step)."""

    def __init__(
        self, source: Source, features: TeacherFeatures, recipe: DistilRecipe, width: int, seed: int
    ) -> None:
        self.source, self.recipe, self.seed = source, recipe, seed
        self._codes = stratum_codes(source)[0]
        weights = rarity(self._codes)
        both, views = joint(features), features.views
        cls = Whitening(both.flatten(0, 1), weights.repeat(views), width, recipe.floor)
        patches = features.patches.float()
        # One view is enough for the patches' covariance.
        tokens = patches.shape[2]
        patch = Whitening(
            patches[0].flatten(0, 1), weights.repeat_interleave(tokens), width, recipe.floor
        )
        self._crops, self._cls, self._patches = features.crops, cls(both), patch(patches).half()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return crops, uint8 [b, 1, S, S], and targets of class [b, D] and patches [b, N, D]."""
        size = self.recipe.batch_size
        epoch, position = divmod(step, len(self.source) // size)
        order = balanced(self._codes, self.seed, epoch)
        indices = order.indices[position * size : (position + 1) * size]
        rng = numpy_generator("distillation", self.seed, step)
        views = rng.integers(len(self._cls), size=size)
        flips = np.array([happens(0.5, rng) for _ in range(size)])
        crops = [
            self._crop(int(index), int(view), bool(flip), rng)
            for index, view, flip in zip(indices, views, flips, strict=True)
        ]
        patches = self._patches[views, indices].float()
        side = round(patches.shape[1] ** 0.5)
        mirrored = patches.reshape(size, side, side, -1).flip(2).flatten(1, 2)
        patches = torch.where(torch.from_numpy(flips)[:, None, None], mirrored, patches)
        return torch.from_numpy(np.stack(crops))[:, None], self._cls[views, indices], patches

    def _crop(self, index: int, view: int, flip: bool, rng: np.random.Generator) -> Array:
        crop = self._crops[view, index].numpy()
        if flip:
            crop = crop[:, ::-1]
        modality = self.source.sample(index).modality
        varied = POLICY(crop.astype(np.float32) / np.float32(255), rng, 0, modality)
        levels: Array = np.rint(varied * np.float32(255)).astype(np.uint8)
        return levels


def distil(
    student: VisionTransformer,
    source: Source,
    features: TeacherFeatures,
    recipe: DistilRecipe,
    *,
    seed: int,
    log: RunLog,
    progress: Progress,
) -> None:
    """Train a student in place.

    Args:
        student: Built for `recipe.crop_size`, at least as wide as components are wanted.
        source: The N images that `features` are of.
        features: The teacher's.
        recipe: How.
        seed: Of order, views and augmentation.
        log: Receives losses.
        progress: Where to report.

    Raises:
        RunFailed: If the loss is not finite.
    """
    batches = DistilBatches(source, features, recipe, cast(int, student.embed_dim), seed)
    steps = recipe.epochs * (len(source) // recipe.batch_size)
    optimiser = torch.optim.AdamW(_groups(student, recipe), lr=0.0)
    progress.start("distilling", steps)
    since = time.perf_counter()
    for step in range(steps):
        lr = rate(recipe, step, steps)
        for group in optimiser.param_groups:
            group["lr"] = lr
        crops, cls, patches = batches.batch(step)
        tokens = student.forward_features(normalised(crops))
        losses = {
            "cls": 1 - functional.cosine_similarity(tokens[:, 0], cls, dim=-1).mean(),
            "patches": 1 - functional.cosine_similarity(tokens[:, 1:], patches, dim=-1).mean(),
        }
        total = losses["cls"] + recipe.patch_weight * losses["patches"]
        if not bool(torch.isfinite(total)):
            raise RunFailed(f"the loss is not finite at step {step}; lower the learning rate")
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if step % LOG_EVERY == 0 or step == steps - 1:
            row: dict[str, Any] = {n: round(float(v.detach()), 5) for n, v in losses.items()}
            log.append({"step": step, **row, "lr": lr})
        speed = (step + 1) * recipe.batch_size / (time.perf_counter() - since)
        progress.advance(1, f"{speed:.1f} images/s")


def rate(recipe: DistilRecipe, step: int, steps: int) -> float:
    """Return the learning rate: linear warm-up, then cosine."""
    warmup = int(recipe.warmup * steps)
    if step < warmup:
        return linear(0.0, recipe.lr, step, warmup)
    return cosine(recipe.lr, recipe.min_lr, step - warmup, steps - warmup)


def _groups(student: VisionTransformer, recipe: DistilRecipe) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices decay, vectors do not."""
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
