"""Training in steps of accumulated micro-batches, the lowest validation loss kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omnibench.forward import CHUNK
from omnibench.interfaces import RunContext
from omnibench.loading import index_batches
from omnibench.seeding import generator, seed_epoch
from omnibench.training import Training, autocast, require_finite
from omnibench_plugins.tasks.caption.model import Captioner, TokenLoss
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe
from omnibench_plugins.tasks.caption.tokens import VisualTokens


@dataclass(frozen=True)
class Pairs:
    """Captions of one split, each with the visual tokens of its image.

    Args:
        captions: Token ids of each caption.
        rows: Which image it belongs to.
        tokens: Visual tokens of images.
        split: Name.
    """

    captions: list[list[int]]
    rows: Tensor
    tokens: VisualTokens
    split: str

    def __len__(self) -> int:
        return len(self.captions)

    def loss(self, model: Captioner, index: Tensor) -> TokenLoss:
        """Return the loss of the captions at the given indices [b]."""
        visual = self.tokens.read(self.split, self.rows[index])
        found: TokenLoss = model(visual, [self.captions[i] for i in index.tolist()])
        return found

    def count(self, index: Tensor) -> int:
        """Return how many tokens these captions have."""
        return sum(len(self.captions[i]) for i in index.tolist())


@dataclass(kw_only=True)
class Course:
    """How training went."""

    best_step: int = 0
    best_loss: float = math.inf
    train_losses: list[float] = field(default_factory=list)  # a token, mean of each epoch
    val_losses: list[tuple[int, float]] = field(default_factory=list)  # step, loss a token


def rate_factor(step: int, warmup: int, total: int) -> float:
    """Return the share of `lr` in a 0-based step: linear warm-up, then linear decay to 0."""
    if step < warmup:
        return step / warmup
    return (total - step) / max(1, total - warmup)


def fit(
    model: Captioner,
    train: Pairs,
    val: Pairs,
    *,
    recipe: CaptionRecipe,
    context: RunContext,
    order: str,
) -> Course:
    """Train `model` and leave it with the parameters of its best validation.

    Args:
        model: All of its parameters are trained.
        train: What it learns from.
        val: What decides which step is kept, asked every `evaluate_every` steps and at the end.
        recipe: Rates, batches, epochs.
        context: Seed, device, precision, progress.
        order: Name of the data order, the dataset's: encoders share batches.

    Raises:
        RunFailed: If a loss is not finite, naming epoch and step.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(context.device.split(":")[0], enabled=context.precision == "fp16")
    total = total_steps(len(train), recipe)
    course = Course()
    training = Training(model, optimizer, scaler, course)
    beginning = training.load(context)
    step = beginning * steps_of_epoch(len(train), recipe)
    context.progress.start(f"training, seed {context.seed}", total - step)
    for epoch in range(beginning, recipe.epochs):
        seed_epoch(context.seed, epoch)
        shuffle = generator("order", order, context.seed, epoch)
        seen, counted = 0.0, 0
        for number, batch in enumerate(index_batches(len(train), recipe.batch_size, shuffle)):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * rate_factor(step, recipe.warmup_steps, total)
            optimizer.zero_grad(set_to_none=True)
            found = accumulate(model, train, batch, recipe, context, scaler)
            require_finite(found.total, epoch, number)
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            step += 1
            seen, counted = seen + found.total.item(), counted + found.tokens
            context.progress.advance(
                note=f"epoch {epoch + 1}/{recipe.epochs} loss {found.total / found.tokens:.3f}"
            )
            # unstated; the last step is looked at too, so that short trainings have a best one
            if step % recipe.evaluate_every == 0 or step == total:
                found_loss = validation_loss(model, val, context)
                require_finite(torch.tensor(found_loss), epoch, number)
                course.val_losses.append((step, found_loss))
                if found_loss < course.best_loss:
                    course.best_step, course.best_loss = step, found_loss
                    training.keep_best()
        course.train_losses.append(seen / counted)
        if epoch + 1 < recipe.epochs:
            training.save(context, epoch + 1, latest_is_best=course.best_step == step)
    # Several searches may follow, each as long as training: none of them trains again.
    training.finish(context, recipe.epochs, at_once=len(recipe.searches) > 1)
    return course


def steps_of_epoch(pairs: int, recipe: CaptionRecipe) -> int:
    """Return the number of updates in an epoch."""
    return math.ceil(pairs / recipe.batch_size)


def total_steps(pairs: int, recipe: CaptionRecipe) -> int:
    """Return the number of updates."""
    return recipe.epochs * steps_of_epoch(pairs, recipe)


def accumulate(
    model: Captioner,
    pairs: Pairs,
    batch: Tensor,
    recipe: CaptionRecipe,
    context: RunContext,
    scaler: torch.amp.GradScaler,
) -> TokenLoss:
    """Add up the gradients of a step's micro-batches; return the loss of all its tokens.

    With `mean` the gradient is that of the mean over all tokens of the step, whatever the size
    of a micro-batch: each token counts the same, as in one undivided batch of the released code.
    With `sum` it is the sum of the micro-batches' own means.
    """
    whole = pairs.count(batch)
    total = torch.zeros((), device=context.device)
    for part in torch.split(batch, recipe.micro_batch):
        with autocast(context):
            found = pairs.loss(model, part)
        divisor = whole if recipe.accumulation == "mean" else found.tokens
        scaler.scale(found.total / divisor).backward()  # type: ignore[no-untyped-call]
        total = total + found.total.detach()
    return TokenLoss(total, whole)


@torch.no_grad()
def validation_loss(model: Captioner, pairs: Pairs, context: RunContext) -> float:
    """Return the mean loss a token over all captions of a split."""
    model.eval()
    total = 0.0
    for part in index_batches(len(pairs), CHUNK):
        with autocast(context):
            total += pairs.loss(model, part).total.item()
    return total / pairs.count(torch.arange(len(pairs)))
