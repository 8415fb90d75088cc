"""The parts of a segmentation run, ready to be timed on made-up images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from omnibench.features.frozen import FrozenFeatures
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Part, RunContext
from omnibench.training import autocast
from omnibench_plugins.tasks.seg.evaluate import pixel_counts, top_class
from omnibench_plugins.tasks.seg.losses import pixel_loss
from omnibench_plugins.tasks.seg.model import SegmentationModel, WholeNetwork, three
from omnibench_plugins.tasks.seg.recipe import SegRecipe
from omnibench_plugins.tasks.seg.taps import TAPS, source_of

CLASSES = 2
BATCH = 4  # images at a time; a part's cost is proportional to them


def parts(handle: EncoderHandle, recipe: SegRecipe, context: RunContext) -> list[Part]:
    """Return encoder, training step piece by piece, and evaluation."""
    features = handle.features(
        TAPS[recipe.extractor],
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=False,
        device=context.device,
        precision=context.precision,
    )
    facts, side = features.facts, recipe.image_size
    model = SegmentationModel(
        source_of(facts.layout, facts.embed_dim, facts.mean, facts.std), CLASSES, recipe
    ).to(context.device)
    images = torch.rand(BATCH, 3, side, side, device=context.device)
    taps = [torch.rand(BATCH, *c.shape, device=context.device) for c in facts.layout]
    masks = torch.randint(0, CLASSES, (BATCH, side, side), device=context.device)
    moved = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moved, lr=recipe.lr, fused=True)

    train = _step(model, lambda: model.loss_logits(images, taps), masks, optimizer, recipe, context)
    evaluate = _prediction(model, lambda: model(images, taps), masks, context)
    return [
        Part(name="encoder", stage="once", images=BATCH, call=_encoding(features, images, context)),
        Part(name="training step", stage="training", images=BATCH, call=train),
        *_pieces(model, images, taps, optimizer, context),
        Part(name="prediction", stage="evaluation", images=BATCH, call=evaluate),
    ]


def whole_network(handle: EncoderHandle, recipe: SegRecipe, context: RunContext) -> list[Part]:
    """Return training step and evaluation of a network that is trained as a whole."""
    side = recipe.image_size
    network = WholeNetwork(handle.build_end_to_end(1)).to(context.device)  # one channel, as in runs
    images = torch.rand(BATCH, 3, side, side, device=context.device)
    masks = torch.randint(0, CLASSES, (BATCH, side, side), device=context.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, fused=True)
    step = _step(network, lambda: network(images), masks, optimizer, recipe, context)
    predict = _prediction(network, lambda: network(images), masks, context)
    return [
        Part(name="training step", stage="training", images=BATCH, call=step),
        Part(name="prediction", stage="evaluation", images=BATCH, call=predict),
    ]


def _step(
    model: nn.Module,
    logits: Callable[[], Tensor],
    masks: Tensor,
    optimizer: torch.optim.Optimizer,
    recipe: SegRecipe,
    context: RunContext,
) -> Callable[[], None]:
    def step() -> None:
        model.train()
        with autocast(context):
            loss = pixel_loss(logits(), masks, recipe)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _prediction(
    model: nn.Module, logits: Callable[[], Tensor], masks: Tensor, context: RunContext
) -> Callable[[], None]:
    @torch.inference_mode()
    def predict() -> None:
        model.eval()
        with autocast(context):
            found = logits()
        pixel_counts(top_class(found), masks.to(torch.uint8), CLASSES)

    return predict


def _pieces(
    model: SegmentationModel,
    images: Tensor,
    taps: list[Tensor],
    optimizer: torch.optim.Optimizer,
    context: RunContext,
) -> list[Part]:
    """Return the pieces of a training step; the loss is what is left."""

    @torch.no_grad()
    def fuse() -> list[Tensor]:
        model.train()
        with autocast(context):
            levels = model.prior((images - model.mean) / model.std)
            found: list[Tensor] = model.fusion(three(taps), levels)
        return found

    maps = fuse()

    def mix() -> None:
        with autocast(context):
            found = model.hybrid(maps)
        torch.autograd.backward(found, [torch.ones_like(f) for f in found])

    @torch.no_grad()
    def mixed() -> list[Tensor]:
        with autocast(context):
            found: list[Tensor] = model.hybrid(maps)
        return found

    inputs = [found.requires_grad_() for found in mixed()]

    def decode() -> None:
        with autocast(context):
            found = model.decoder(inputs)
        found.backward(torch.ones_like(found))

    names: dict[str, Callable[[], object]] = {
        "prior and fusion": fuse,
        "hybrid encoder, both ways": mix,
        "decoder, both ways": decode,
        "optimiser": optimizer.step,
    }
    return [Part(name=n, stage="detail", images=BATCH, call=c) for n, c in names.items()]


def _encoding(features: FrozenFeatures, images: Tensor, context: RunContext) -> Callable[[], Any]:
    @torch.inference_mode()
    def encode() -> None:
        with autocast(context):
            features.reading.read(features.encoder, images)

    return encode
