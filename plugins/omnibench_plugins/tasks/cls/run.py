"""One run of classification: images, encoder and head, training, predictions."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench.adapters import require_live_adapters, require_untrained, untrained_digest
from omnibench.cards import SPLITS
from omnibench.features.images import images_of
from omnibench.features.readings import POOLED, require_pool
from omnibench.forward import flops_per_image, parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, Outcome, RunContext
from omnibench.metrics.classification import confusion_counts, f1_macro, flags_from_scores
from omnibench.seeding import generator, seed_initialisation
from omnibench.training import FitResult, Optimisation, fit
from omnibench_plugins.tasks.cls.classifier import (
    Classifier,
    Head,
    HeadOnly,
    build_classifier,
)
from omnibench_plugins.tasks.cls.inputs import FrozenEncoder, Inputs, TunedEncoder
from omnibench_plugins.tasks.cls.recipe import ClsRecipe
from omnibench_plugins.tasks.cls.samples import Labels, prediction_arrays, read_labels, softmax


class _Setup(NamedTuple):
    """A model as training begins, and the way to its logits."""

    model: Classifier | HeadOnly
    inputs: Inputs
    frozen_params: int  # of an encoder that is no part of the model
    flops_per_image: int


def run(handle: EncoderHandle, dataset: Dataset, recipe: ClsRecipe, context: RunContext) -> Outcome:
    """Train a classifier on one seed and predict validation and test (OmniRad, Sec. 3.2)."""
    prepare = _head_only if recipe.tuning == "head" else _tuned
    setup, data = prepare(handle, dataset, recipe, context)
    model, inputs = setup.model, setup.inputs
    untrained = untrained_digest(model)
    course = _train(model, inputs, data, recipe, context, order=dataset.name)
    require_untrained(model, untrained)

    val, test = softmax(inputs.logits("val")), softmax(inputs.logits("test"))
    total, trainable = parameter_counts(model)
    return Outcome(
        predictions={
            **prediction_arrays("val", data["val"], val),
            **prediction_arrays("test", data["test"], test),
        },
        params_total=total + setup.frozen_params,
        params_trainable=trainable,
        flops_per_image=setup.flops_per_image,
        images_per_second=inputs.images_per_second,
        details={
            **_course(course),
            "adapters": model.adapters,
            **flags_from_scores(test, data["test"].labels.numpy()),
        },
        weights=_trained(model),
    )


def _tuned(
    handle: EncoderHandle, dataset: Dataset, recipe: ClsRecipe, context: RunContext
) -> tuple[_Setup, dict[str, Labels]]:
    """Prepare to train an encoder, in full or by adapters, with its head."""
    model = _classifier(handle, len(dataset.classes), recipe, context)
    flops = _flops(handle, len(dataset.classes), recipe, context.device)
    data = _labels(dataset)
    images = {
        name: images_of(
            handle.store, dataset, name, recipe.image_size, True, progress=context.progress
        )
        for name in SPLITS
    }
    inputs = TunedEncoder(model, images, recipe.augmentation, context)
    return _Setup(model, inputs, 0, flops), data


@functools.lru_cache(maxsize=1)  # the seeds of a cell follow each other
def _flops(handle: EncoderHandle, classes: int, recipe: ClsRecipe, device: str) -> int:
    """Return the operations of one image, on a model of its own."""
    model = _classifier(handle, classes, recipe, RunContext(seed=0, device=device))
    return flops_per_image(model, recipe.image_size, device)


def _head_only(
    handle: EncoderHandle, dataset: Dataset, recipe: ClsRecipe, context: RunContext
) -> tuple[_Setup, dict[str, Labels]]:
    """Prepare to train a head on an encoder that stays as it is."""
    features = handle.features(
        POOLED,
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=True,
        device=context.device,
        precision=context.precision,
    )
    facts = features.facts
    require_pool(facts.layout.names, recipe.pool)
    data = _labels(dataset)
    seed_initialisation(context.seed)
    (width,) = next(column.shape for column in facts.layout if column.name == recipe.pool)
    head = Head(width, len(dataset.classes), recipe.head_dropout)
    model = HeadOnly(head).to(context.device)
    inputs = FrozenEncoder(model, features, dataset, recipe, context)
    flops = facts.flops_per_image + model.flops_per_image
    return _Setup(model, inputs, facts.params, flops), data


def _labels(dataset: Dataset) -> dict[str, Labels]:
    return {name: read_labels(dataset, name) for name in SPLITS}


def _classifier(
    handle: EncoderHandle, classes: int, recipe: ClsRecipe, context: RunContext
) -> Classifier:
    """Return encoder and head as training begins, on the device of the run."""
    encoder = handle.build(normalization=recipe.normalization, pool=recipe.pool)
    targets = encoder.lora_targets or handle.card.lora_targets
    seed_initialisation(context.seed)
    model = build_classifier(encoder, classes, recipe, targets).to(context.device)
    if model.adapters:
        size = (2, 3, recipe.image_size, recipe.image_size)
        noise = torch.rand(size, generator=generator("live adapters")).to(context.device)
        labels = torch.zeros(2, dtype=torch.int64, device=context.device)
        require_live_adapters(model, noise, labels)
    return model


def _train(
    model: Classifier | HeadOnly,
    inputs: Inputs,
    data: dict[str, Labels],
    recipe: ClsRecipe,
    context: RunContext,
    *,
    order: str,
) -> FitResult:
    """Train and leave `model` at the epoch with the best validation macro F1."""
    classes = model.head.linear.out_features
    labels = data["train"].labels.to(context.device)
    weights = None
    if recipe.class_weights == "sqrt_inverse_frequency":
        weights = sqrt_inverse_frequency(labels, classes)

    def loss(index: Tensor, draws: torch.Generator) -> Tensor:
        logits = inputs.training_logits(index, draws)
        return F.cross_entropy(logits, labels[index.to(labels.device)], weight=weights)

    def validate() -> float:
        predicted = inputs.logits("val").argmax(dim=1).numpy()
        counts = confusion_counts(predicted, data["val"].labels.numpy(), classes)
        return round(f1_macro(counts), 4)  # as the released code compares epochs

    return fit(
        model,
        samples=len(labels),
        loss=loss,
        validate=validate,
        optimisation=_optimisation(recipe),
        context=context,
        order=order,
        ties=recipe.ties,
    )


def sqrt_inverse_frequency(labels: Tensor, classes: int) -> Tensor:
    """Return class weights sqrt(N / n_c), float [C] (the released code's).

    A class without training samples gets 0; its weight is never used.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, (len(labels) / counts.clamp(min=1)).sqrt(), 0.0)


def _optimisation(recipe: ClsRecipe) -> Optimisation:
    return Optimisation(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        warmup_epochs=recipe.warmup_epochs,
        warmup_start=recipe.warmup_start,
        decay=recipe.decay,
        clip_norm=recipe.clip_norm,
        warmup_clip_norm=recipe.warmup_clip_norm,
        amp_scaler=recipe.amp_scaler,
    )


def _course(course: FitResult) -> dict[str, Any]:
    return {
        "best_epoch": course.best_epoch,
        "train_losses": course.losses,
        "val_f1_macro": course.scores,
    }


def _trained(model: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    return {n: p.detach().cpu().numpy() for n, p in model.named_parameters() if p.requires_grad}
