"""Rates as functions of the step, so that a resumed run needs nothing but its step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omnirad.recipe import PretrainRecipe


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at `step` of `steps`; `end` would be reached at `steps` (D2's convention)."""
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def linear(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at `step` of `steps`; `end` is reached at the last one (D2's linspace)."""
    return end if steps < 2 else start + (end - start) * min(1.0, step / (steps - 1))


@dataclass(frozen=True)
class Stage:
    """Consecutive steps at one resolution: first <= step < end."""

    first: int
    end: int
    crop_size: int  # pixels
    batch_size: int  # images a rank
    lr_factor: float


@dataclass(frozen=True)
class Schedules:
    """All rates of one run.

    Args:
        recipe: Names their ends and lengths.
        epoch_steps: Steps an epoch, see `PretrainRecipe.steps_per_epoch`.
        world_size: Ranks, for the peak learning rate.
    """

    recipe: PretrainRecipe
    epoch_steps: int
    world_size: int = 1

    @property
    def total(self) -> int:
        """Steps of the whole run (D2's loop makes one more, by mistake)."""
        return self.recipe.epochs * self.epoch_steps

    def stages(self) -> tuple[Stage, ...]:
        """Return the run's stages in order: one, or a second at high resolution."""
        recipe = self.recipe
        change = self.total - round(self.total * recipe.high_res_share)
        low = Stage(0, change, recipe.crop_size, recipe.batch_size, 1.0)
        if change == self.total:
            return (low,)
        batch = recipe.batch_size // recipe.high_res_batch_divisor
        return (low, Stage(change, self.total, recipe.high_res_size, batch, recipe.high_res_lr))

    def stage(self, step: int) -> Stage:
        """Return the stage that `step` belongs to."""
        return next(stage for stage in reversed(self.stages()) if step >= stage.first)

    def lr(self, step: int) -> float:
        """Return the learning rate: linear warm-up, then cosine, times the stage's factor."""
        recipe = self.recipe
        peak = recipe.peak_lr(self.world_size)
        warmup = int(recipe.warmup_epochs * self.epoch_steps)
        if step < warmup:
            value = linear(0.0, peak, step, warmup)
        else:
            value = cosine(peak, recipe.min_lr, step - warmup, self.total - warmup)
        return value * self.stage(step).lr_factor

    def weight_decay(self, step: int) -> float:
        """Return the weight decay, a rising cosine."""
        return cosine(self.recipe.weight_decay, self.recipe.weight_decay_end, step, self.total)

    def momentum(self, step: int) -> float:
        """Return the teacher's momentum, a rising cosine."""
        return cosine(self.recipe.momentum, self.recipe.momentum_end, step, self.total)

    def teacher_temp(self, step: int) -> float:
        """Return the temperature of the teacher's targets: linear, then constant."""
        recipe = self.recipe
        warmup = int(recipe.teacher_temp_warmup_epochs * self.epoch_steps)
        if step >= warmup:
            return recipe.teacher_temp
        return linear(recipe.teacher_temp_start, recipe.teacher_temp, step, warmup)

    def last_layer_frozen(self, step: int) -> bool:
        """Tell whether the prototypes do not move at this step."""
        return step < int(self.recipe.freeze_last_layer_epochs * self.epoch_steps)

    def encoder_frozen(self, step: int) -> bool:
        """Tell whether the heads warm up alone at this step."""
        return step < self.recipe.freeze_encoder_steps

    def gram_refresh(self, step: int) -> bool:
        """Tell whether the Gram anchor is taken from the teacher before this step."""
        recipe = self.recipe
        since = step - recipe.gram_start_step
        return (
            recipe.gram_weight > 0
            and since >= 0
            and since % recipe.gram_refresh_steps == 0
            and since // recipe.gram_refresh_steps <= recipe.gram_refreshes
        )
