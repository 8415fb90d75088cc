"""One pretraining step of `omnirad` against a straightforward one, interleaved in one run.

Usage: python tests/performance/pretraining_step.py [STEPS]

The reference follows the formulas (pretraining recipe, step by step): heads run on every token and
masked ones are picked from the logits, targets and losses exist as whole matrices, stochastic depth
zeroes what was computed, the teacher follows in a loop over parameters, AdamW is torch's default.
Encoder and weights are the same. Prints the median, least and most time of STEPS (default 15) steps
of each after two of warm-up, the most memory that tensors take, and how far losses and gradients are
apart on one batch. Two cases: the preset `nano` as it is, and the preset `paper` with a nano encoder,
which keeps its drop path and head and 16384 of its 131072 prototypes.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnirad.masking import draw_masks
from omnirad.optimiser import build_optimiser, clip_gradients, parameter_groups, set_rates
from omnirad.presets import NANO, PAPER
from omnirad.recipe import PretrainRecipe
from omnirad.schedules import Schedules
from omnirad.student_teacher import StudentTeacher, build_student
from omnirad.tools.memory import LiveBytes

TEMPERATURE = 0.04
STEP = 60  # of a run of 100 steps an epoch: past warm-up of both cases
CASES = {
    "nano as it is": replace(NANO, batch_size=32),
    "paper, nano encoder, 16384 prototypes": replace(
        PAPER, size="nano", init="random", layer_scale=1.0, crop_size=56, batch_size=16,
        prototypes=16384,
    ),
}  # fmt: skip


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """Sinkhorn-Knopp in place, as printed."""
    p = torch.exp(logits / TEMPERATURE).T
    p /= p.sum()
    prototypes, rows = p.shape
    for _ in range(iterations):
        p /= p.sum(dim=1, keepdim=True)
        p /= prototypes
        p /= p.sum(dim=0, keepdim=True)
        p /= rows
    return (p * rows).T


class Reference:
    """The same step in the shortest way to write it down."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        self.recipe = recipe
        self.student = build_student(recipe, seed=0)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        groups = parameter_groups(self.student, recipe)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0)
        self.schedules = Schedules(recipe, 100)

    def drop(self, x: Tensor) -> Tensor:
        if not self.recipe.drop_path:
            return x
        kept = torch.rand(len(x), 1, 1) >= self.recipe.drop_path
        return x * kept / (1 - self.recipe.drop_path)

    def tokens(self, net: nn.Module, crops: Tensor, masks: Tensor | None) -> Tensor:
        vit = net.encoder
        x = vit.patch_embed(crops)
        if masks is not None:
            x = torch.where(masks.view(*x.shape[:3], 1), net.mask_token, x)
        x = vit._pos_embed(x)
        drop = self.drop if masks is not None else (lambda branch: branch)
        for block in vit.blocks:
            x = x + drop(block.ls1(block.attn(block.norm1(x))))
            x = x + drop(block.ls2(block.mlp(block.norm2(x))))
        return vit.norm(x)

    def logits(self, net: nn.Module, tokens: Tensor) -> Tensor:
        return F.normalize(net.dino_head.mlp(tokens), dim=-1) @ net.dino_head.last_layer.weight.T

    def loss(self, crops: Tensor, masks: Tensor) -> Tensor:
        recipe = self.recipe
        with torch.no_grad():
            taught = self.logits(self.teacher, self.tokens(self.teacher, crops, None))
            first, second = taught[:, 0].chunk(2)
            q_cls = sinkhorn(torch.cat([second, first]), recipe.sinkhorn_iterations)
            q_patch = sinkhorn(taught[:, 1:][masks], recipe.sinkhorn_iterations)
        features = self.tokens(self.student, crops, masks)
        learnt = self.logits(self.student, features)
        log_cls = F.log_softmax(learnt[:, 0] / recipe.student_temp, dim=1)
        log_patch = F.log_softmax(learnt[:, 1:][masks] / recipe.student_temp, dim=1)
        weights = (1 / masks.sum(1).clamp(min=1))[:, None].expand_as(masks)[masks]
        dino = -(q_cls * log_cls).sum(1).mean()
        ibot = -(weights * (q_patch * log_patch).sum(1)).sum() / len(crops)
        total = recipe.dino_global_scale * dino + ibot
        if recipe.koleo_weight:
            for view in features[:, 0].chunk(2):
                u = F.normalize(view, dim=1)
                nearest = (u @ u.T).fill_diagonal_(-1).argmax(1).detach()
                away = F.pairwise_distance(u, u[nearest], eps=1e-4)
                total = total - recipe.koleo_weight * torch.log(away + 1e-4).mean()
        return total

    def step(self, crops: Tensor, masks: Tensor) -> None:
        set_rates(self.optimiser, self.schedules, STEP)
        self.loss(crops, masks).backward()
        for parameters in self.student.sub_modules().values():
            nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        momentum = self.schedules.momentum(STEP)
        with torch.no_grad():
            for kept, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                kept.mul_(momentum).add_(new, alpha=1 - momentum)


class Ours:
    """The step as the package takes it."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        self.recipe = recipe
        self.student = build_student(recipe, seed=0)
        self.pair = StudentTeacher(self.student, recipe, seed=0)
        self.optimiser = build_optimiser(self.student, recipe)
        self.schedules = Schedules(recipe, 100)

    def loss(self, crops: Tensor, masks: Tensor) -> Tensor:
        return self.pair.losses(crops, masks, step=STEP, teacher_temp=TEMPERATURE).total

    def step(self, crops: Tensor, masks: Tensor) -> None:
        set_rates(self.optimiser, self.schedules, STEP)
        self.loss(crops, masks).backward()
        clip_gradients(self.student, self.recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.pair.update_teacher(self.schedules.momentum(STEP))


@dataclass
class Batch:
    crops: Tensor
    masks: Tensor


def batch(recipe: PretrainRecipe, step: int) -> Batch:
    crops = 2 * recipe.batch_size
    side = recipe.crop_size // 14
    masks = draw_masks(recipe, crops, (side, side), seed=0, step=step, rank=0)
    generator = torch.Generator().manual_seed(step)
    size = (crops, 3, recipe.crop_size, recipe.crop_size)
    return Batch(torch.randn(size, generator=generator), torch.from_numpy(masks))


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def difference(recipe: PretrainRecipe) -> str:
    """Compare losses and gradients without stochastic depth, whose draws are not the same."""
    recipe = replace(recipe, drop_path=0.0)
    data = batch(recipe, 0)
    found = []
    for kind in (Ours, Reference):
        side = kind(recipe)
        loss = side.loss(data.crops, data.masks)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in side.student.parameters()])
        found.append((float(loss.detach()), gradient))
    (ours, g), (theirs, r) = found
    return (
        f"loss {ours:.7f} and {theirs:.7f}, gradients differ by "
        f"{float((g - r).norm() / r.norm()):.1e} of their norm"
    )


def peak(side: Ours | Reference, data: Batch) -> float:
    """Return the MiB of tensors that a step makes beyond what was there before it."""
    with LiveBytes() as live:
        side.step(data.crops, data.masks)
    return live.peak / 2**20


def compare(name: str, recipe: PretrainRecipe, steps: int) -> None:
    sides = {"omnirad": Ours(recipe), "reference": Reference(recipe)}
    times: dict[str, list[float]] = {each: [] for each in sides}
    for step in range(steps + 2):
        data = batch(recipe, step)
        for each, side in sides.items():
            taken = seconds(lambda side=side, data=data: side.step(data.crops, data.masks))
            if step >= 2:
                times[each].append(taken)
    print(f"{name}: batch {recipe.batch_size}, {difference(recipe)}")
    for each, taken in times.items():
        print(
            f"  {each:9} median {statistics.median(taken):.3f} s ({min(taken):.3f}-{max(taken):.3f}"
            f"), {peak(sides[each], batch(recipe, 0)):.0f} MiB of tensors in a step"
        )
    medians = [statistics.median(taken) for taken in times.values()]
    print(f"  {medians[1] / medians[0]:.2f} times as fast")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for name, recipe in CASES.items():
        compare(name, recipe, steps)


if __name__ == "__main__":
    main()
