"""What a call of `pretrain` would do, said without doing it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from omnirad.data.specs import open_sources
from omnirad.job import Job
from omnirad.presets import PAPER
from omnirad.schedules import Schedules
from omnirad.settings import digest, document
from omnirad.tools.memory import GIB, footprint

# The fields that the paper gives a value for (Table 1); all others are unstated.
STATED = frozenset(
    (
        *("layer_scale", "drop_path", "crop_size", "prototypes", "head_bottleneck", "head_hidden"),
        *("head_layers", "dino_weight", "ibot_weight", "teacher_temp_start", "teacher_temp"),
        *("epochs", "batch_size", "base_lr", "min_lr", "weight_decay", "weight_decay_end"),
        *("momentum", "momentum_end"),
    )
)
WIDTH = 100


def plan(job: Job, world_size: int = 1) -> str:
    """Return images, steps, rates and memory of a run, and what the paper does not say of it.

    Args:
        job: The call; its data are opened, not read.
        world_size: Processes.

    Raises:
        OmniradError: What would stop the run at once.
    """
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in _lines(job, world_size)
    )


def _lines(job: Job, world_size: int) -> Iterator[str]:
    recipe = job.recipe
    source = open_sources(job.data, recipe.splits)
    epoch_steps = recipe.steps_per_epoch(len(source), world_size)
    schedules = Schedules(recipe, epoch_steps, world_size)
    yield f"images: {len(source)} ({source.name}), split {' and '.join(recipe.splits)}"
    yield (
        f"steps: {schedules.total}, {epoch_steps} an epoch, {recipe.epochs} epochs, "
        f"{world_size} process(es)"
    )
    for stage in schedules.stages():
        yield (
            f"steps {stage.first} to {stage.end - 1}: 2 x {stage.batch_size} crops of "
            f"{stage.crop_size} px a process, lr x {stage.lr_factor:g}"
        )
    yield f"peak learning rate: {recipe.peak_lr(world_size):.6g}"
    needed = footprint(recipe)
    yield (
        f"memory of a step: about {needed.peak / GIB:.2f} GiB a process at {recipe.crop_size} px "
        f"(networks {needed.networks / GIB:.2f}, gradients and moments "
        f"{needed.training / GIB:.2f}), worked out for bf16, without what the device itself needs"
    )
    yield f"initial weights: {job.initial or 'random'}"
    yield f"recipe digest: {digest(document(recipe))}"
    for notice in recipe.notices():
        yield f"note: {notice}"
    values, paper = document(recipe), document(PAPER)
    changed = [f"{n} {values[n]}" for n in STATED & values.keys() if values[n] != paper[n]]
    if changed:
        yield f"other than Table 1 says: {', '.join(sorted(changed))}"
    unstated = [f"{name} {value}" for name, value in values.items() if name not in STATED]
    yield f"unstated in the paper: {', '.join(unstated)}"
