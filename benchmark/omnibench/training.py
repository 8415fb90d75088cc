"""The one supervised loop that all trained tasks use."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omnibench.errors import RunFailed
from omnibench.forward import autocast_to
from omnibench.interfaces import RunContext
from omnibench.loading import index_batches
from omnibench.seeding import generator, seed_epoch


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How parameters are moved: AdamW with per-epoch rates (OmniRad, Sec. 3.2 and 3.3)."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: int = 0
    warmup_start: float = 0.01  # factor of lr in epoch 0
    decay: Literal["constant", "cosine"] = "constant"
    clip_norm: float | None = None
    warmup_clip_norm: float | None = None  # clip_norm during warm-up, where it differs
    amp_scaler: bool = True  # scale fp16 gradients

    def lr_at(self, epoch: int) -> float:
        """Learning rate of a 0-based epoch: linear warm-up, then constant or cosine to 0."""
        if epoch < self.warmup_epochs:
            share = epoch / self.warmup_epochs
            return self.lr * (self.warmup_start + (1 - self.warmup_start) * share)
        if self.decay == "constant":
            return self.lr
        span = max(1, self.epochs - self.warmup_epochs)
        return self.lr * (1 + math.cos(math.pi * (epoch - self.warmup_epochs) / span)) / 2

    def clip_at(self, epoch: int) -> float | None:
        """Gradient norm limit of a 0-based epoch."""
        if epoch < self.warmup_epochs and self.warmup_clip_norm is not None:
            return self.warmup_clip_norm
        return self.clip_norm


@dataclass(kw_only=True)
class FitResult:
    """What training found: the chosen epoch and the course of it."""

    best_epoch: int = -1
    best_score: float = -math.inf
    losses: list[float] = field(default_factory=list)  # mean training loss, one an epoch
    scores: list[float] = field(default_factory=list)  # validation score, one an epoch


@dataclass(eq=False)
class Training:
    """What changes while a model is trained, and with it whatever a resumed epoch begins with.

    Rates and random streams are functions of seed and epoch (`omnibench.seeding`), never kept.

    Args:
        model: Parameters that require gradients are trained; buffers may change too.
        optimizer: Of these parameters.
        scaler: Of their gradients.
        course: A dataclass of numbers and lists: what training found so far.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    course: Any
    best: dict[str, Tensor] = field(default_factory=dict)
    beginning: int = 0  # epoch that this process began with

    def keep_best(self) -> None:
        """Remember the model as it is now."""
        self.best = trained_state(self.model)

    def load(self, context: RunContext) -> int:
        """Go on where a killed process was; return the 0-based epoch to begin with."""
        found = context.unfinished.load()
        if found is None:
            return 0
        self.beginning, state = found
        for name, value in state["course"].items():
            setattr(self.course, name, value)
        if "model" in state:
            restore(self.model, state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        self.best = trained_state(self.model) if state["best"] is None else state["best"]
        return self.beginning

    def save(self, context: RunContext, epoch: int, *, latest_is_best: bool) -> None:
        """Leave what `epoch` begins with; the best model only where it is not the latest."""
        state = {
            "model": _trained(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": None if latest_is_best else self.best,
            "course": vars(self.course),
        }
        context.unfinished.save(epoch, state)

    def finish(self, context: RunContext, epochs: int, *, at_once: bool = False) -> None:
        """Leave the best model, which is all that predicting needs, and load it."""
        if self.beginning < epochs:
            state = {"best": self.best, "course": vars(self.course)}
            context.unfinished.save(epochs, state, at_once=at_once)
        restore(self.model, self.best)
        self.model.eval()


def fit(
    model: nn.Module,
    *,
    samples: int,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    validate: Callable[[], float],
    optimisation: Optimisation,
    context: RunContext,
    order: str,
    ties: Literal["first", "last"] = "first",
) -> FitResult:
    """Train `model` and leave it with the parameters of its best epoch.

    Args:
        model: Parameters that require gradients are trained; frozen parts stay as they are.
        samples: Number of training samples; batches are drawn from range(samples).
        loss: Mean loss of the samples at the given indices [b]; the generator is for augmentation.
        validate: Validation score of the current parameters, higher is better.
        optimisation: Rates, decay, epochs, batch size.
        context: Seed, device, precision, progress.
        order: Name of the data order, usually the dataset's: encoders share batches.
        ties: Which of two epochs with equal scores is kept.

    Returns:
        The course of training.

    Raises:
        RunFailed: If a loss is not finite, naming epoch and step.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=optimisation.lr, weight_decay=optimisation.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(
        context.device.split(":")[0],
        enabled=context.precision == "fp16" and optimisation.amp_scaler,
    )
    result = FitResult()
    training = Training(model, optimizer, scaler, result)
    steps = math.ceil(samples / optimisation.batch_size)
    beginning = training.load(context)
    context.progress.start(
        f"training, seed {context.seed}", (optimisation.epochs - beginning) * steps
    )
    for epoch in range(beginning, optimisation.epochs):
        # rates and random streams of this epoch
        for group in optimizer.param_groups:
            group["lr"] = optimisation.lr_at(epoch)
        clip = optimisation.clip_at(epoch)
        seed_epoch(context.seed, epoch)
        draws = generator("augmentation", order, context.seed, epoch)
        shuffle = generator("order", order, context.seed, epoch)
        # one pass over the training samples
        model.train()
        total = 0.0
        for step, batch in enumerate(index_batches(samples, optimisation.batch_size, shuffle)):
            with autocast(context):
                value = loss(batch, draws)
            require_finite(value, epoch, step)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            if clip is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(parameters, clip)
            scaler.step(optimizer)
            scaler.update()
            found = value.detach().item()
            total += found * len(batch)
            context.progress.advance(
                note=f"epoch {epoch + 1}/{optimisation.epochs} loss {found:.3f}"
            )
        # validation decides which epoch is kept
        model.eval()
        score = validate()
        result.losses.append(total / samples)
        result.scores.append(score)
        better = score >= result.best_score if ties == "last" else score > result.best_score
        if better or not training.best:
            result.best_epoch, result.best_score = epoch, score
            training.keep_best()
        # what a killed process would lose
        if epoch + 1 < optimisation.epochs:
            training.save(context, epoch + 1, latest_is_best=result.best_epoch == epoch)
    training.finish(context, optimisation.epochs)
    return result


def autocast(context: RunContext) -> AbstractContextManager[object]:
    """Return mixed precision on an accelerator, nothing for fp32."""
    return autocast_to(context.precision, context.device)


def require_finite(value: Tensor, epoch: int, step: int) -> None:
    """Raise `RunFailed` if a loss is infinite or not a number; epoch and step count from 0."""
    if not bool(torch.isfinite(value)):
        raise RunFailed(
            f"the training loss became {value.detach().item()} in epoch {epoch + 1}, step {step + 1}; "
            "try a smaller --set lr=…, or --precision fp32",
            kind="nan_loss",
            epoch=epoch + 1,
        )


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy what training changes: trained parameters and buffers such as batch statistics."""
    return {name: value.clone() for name, value in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes, as it is and not copied."""
    state = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    return state | {n: b.detach() for n, b in model.named_buffers()}


@torch.no_grad()
def restore(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Write back what `trained_state` copied."""
    targets = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in state.items():
        targets[name].copy_(value)
