"""The parts of a run with labels, ready to be timed on made-up images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench.features.readings import POOLED
from omnibench.forward import CHUNK
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Part, RunContext
from omnibench.seeding import generator
from omnibench.training import autocast
from omnibench_plugins.tasks.cls.classifier import Head, HeadOnly, build_classifier
from omnibench_plugins.tasks.cls.inputs import augmented
from omnibench_plugins.tasks.cls.recipe import ClsRecipe

CLASSES = 2


def encoding(handle: EncoderHandle, side: int, context: RunContext) -> list[Part]:
    """Return the encoder's forward pass of images [3, side, side]: nearly all of a probe."""
    encoder = handle.build(normalization="own", pool="checkpoint").freeze().to(context.device)
    images = torch.rand(CHUNK, 3, side, side, device=context.device)

    @torch.inference_mode()
    def encode() -> None:
        POOLED.read(encoder, images)

    return [Part(name="encoder", stage="once", images=CHUNK, call=encode)]


def parts(handle: EncoderHandle, recipe: ClsRecipe, context: RunContext) -> list[Part]:
    """Return a training step and, where the encoder is trained, a prediction."""
    encoder = handle.build(normalization=recipe.normalization, pool="checkpoint")
    side = recipe.image_size
    images = torch.randint(0, 256, (CHUNK, 1, side, side), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (CHUNK,), device=context.device)
    draws = generator("cost")

    def batch() -> Tensor:
        return augmented(images, recipe.augmentation, draws, context.device)

    if recipe.tuning == "head":
        encoder = encoder.freeze().to(context.device)
        head = HeadOnly(Head(encoder.pooled_dim, CLASSES, recipe.head_dropout)).to(context.device)
        pooled = torch.rand(CHUNK, encoder.pooled_dim, device=context.device)

        def logits() -> Tensor:
            seen = pooled
            if recipe.augmentation != "none":
                with torch.no_grad():
                    seen = encoder(batch()).pooled
            found: Tensor = head(seen)
            return found

        step = _step(head, logits, labels, recipe.lr, context)
        train = Part(name="training step", stage="training", images=CHUNK, call=step)
        return [*encoding(handle, side, context), train]
    targets = encoder.lora_targets or handle.card.lora_targets
    model = build_classifier(encoder, CLASSES, recipe, targets).to(context.device)

    @torch.inference_mode()
    def predict() -> None:
        model.eval()(batch())

    step = _step(model, lambda: model(batch()), labels, recipe.lr, context)
    return [
        Part(name="training step", stage="training", images=CHUNK, call=step),
        Part(name="prediction", stage="evaluation", images=CHUNK, call=predict),
    ]


def _step(
    model: nn.Module,
    logits: Callable[[], Tensor],
    labels: Tensor,
    lr: float,
    context: RunContext,
) -> Callable[[], None]:
    """Return one step of AdamW on cross-entropy."""
    moved = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moved, lr=lr, fused=True)

    def step() -> None:
        model.train()
        with autocast(context):
            loss = F.cross_entropy(logits(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
