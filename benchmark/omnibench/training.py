"""The one supervised loop that all trained tasks use."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

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
    best: dict[str, Tensor] = {}
    steps = math.ceil(samples / optimisation.batch_size)
    context.progress.start(f"training, seed {context.seed}", optimisation.epochs * steps)
    for epoch in range(optimisation.epochs):
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
        if better or not best:
            result.best_epoch, result.best_score = epoch, score
            best = trained_state(model)
    restore(model, best)
    model.eval()
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
        )


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy what training changes: trained parameters and buffers such as batch statistics."""
    state = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    return state | {n: b.detach().clone() for n, b in model.named_buffers()}


@torch.no_grad()
def restore(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Write back what `trained_state` copied."""
    targets = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in state.items():
        targets[name].copy_(value)
