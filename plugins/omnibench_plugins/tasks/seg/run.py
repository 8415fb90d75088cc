"""One run of segmentation: images, modules on a frozen encoder, training, pixel counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnibench.cards import SPLITS
from omnibench.forward import flops_per_image, parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, Outcome, RunContext
from omnibench.metrics.segmentation import metrics_from_counts
from omnibench.seeding import seed_initialisation
from omnibench.training import FitResult, Optimisation, fit
from omnibench_plugins.tasks.seg.evaluate import Evaluation, evaluate, grid_counts
from omnibench_plugins.tasks.seg.inputs import FrozenInputs, Inputs, WholeInputs
from omnibench_plugins.tasks.seg.losses import nearest, pixel_loss
from omnibench_plugins.tasks.seg.model import SegmentationModel, WholeNetwork
from omnibench_plugins.tasks.seg.recipe import SegRecipe
from omnibench_plugins.tasks.seg.samples import Data, Samples, read_data
from omnibench_plugins.tasks.seg.taps import TAPS, source_of

GALLERY = 6  # test images whose predicted maps are stored


def run(handle: EncoderHandle, dataset: Dataset, recipe: SegRecipe, context: RunContext) -> Outcome:
    """Train on one seed and count the pixels of validation and test (OmniRad, Sec. 3.3).

    Raises:
        PluginError: If an encoder changes although it is frozen.
    """
    if recipe.model == "end_to_end":
        return _end_to_end(handle, dataset, recipe, context)
    features = handle.features(
        TAPS[recipe.extractor],
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=False,
        device=context.device,
        precision=context.precision,
    )
    facts = features.facts  # what cannot be encoded is refused before images are read
    data = read_data(dataset, recipe, context.progress, handle.store)
    taps = {name: features.of(dataset, name, context.progress) for name in SPLITS}
    seed_initialisation(context.seed)
    source = source_of(facts.layout, facts.embed_dim, facts.mean, facts.std)
    model = SegmentationModel(source, data.classes, recipe).to(context.device)
    inputs = FrozenInputs(model, data, taps, context)
    outcome = _outcome(model, inputs, data, recipe, context, dataset.name)
    black = [torch.zeros(1, *column.shape, device=context.device) for column in facts.layout]
    flops = flops_per_image(model, recipe.image_size, context.device, black)
    return replace(
        outcome,
        params_total=outcome.params_total + facts.params,
        flops_per_image=flops + facts.flops_per_image,
    )


def _end_to_end(
    handle: EncoderHandle, dataset: Dataset, recipe: SegRecipe, context: RunContext
) -> Outcome:
    """Train a whole network."""
    handle.build_end_to_end(1)  # what cannot be built is refused before images are read
    data = read_data(dataset, recipe, context.progress, handle.store)
    seed_initialisation(context.seed)
    channels = 1 if data.classes == 2 else data.classes
    network = WholeNetwork(handle.build_end_to_end(channels)).to(context.device)
    inputs = WholeInputs(network, data, context)
    outcome = _outcome(network, inputs, data, recipe, context, dataset.name)
    flops = flops_per_image(network, recipe.image_size, context.device)
    return replace(outcome, flops_per_image=flops)


def _outcome(
    model: nn.Module,
    inputs: Inputs,
    data: Data,
    recipe: SegRecipe,
    context: RunContext,
    order: str,
) -> Outcome:
    """Train, predict validation and test, and say what the modules themselves cost."""
    course = _train(model, inputs, data, recipe, context, order=order)
    shown = _shown(len(data.splits["test"]))
    found = {n: evaluate(inputs, n, data.splits[n], context, shown) for n in ("val", "test")}
    predictions: dict[str, np.ndarray[Any, Any]] = {}
    for name, evaluation in found.items():
        predictions |= _arrays(name, data.splits[name], evaluation, recipe.image_size)
    total, trainable = parameter_counts(model)
    values = np.array(data.values["train"], dtype=np.uint8)  # as the dataset's masks hold them
    predictions |= {
        "gallery_id": data.splits["test"].split.ids[shown],
        f"gallery_mask@{recipe.image_size}": values[found["test"].shown],
    }
    return Outcome(
        predictions=predictions,
        params_total=total,
        params_trainable=trainable,
        images_per_second=found["test"].images_per_second,
        details={
            "best_epoch": course.best_epoch,
            "train_losses": course.losses,
            f"val_{recipe.selection}": course.scores,
            "mask_values": data.values,
            "flags": _flags(found["test"].counts),
        },
        weights=_trained(model),
    )


def _train(
    model: nn.Module,
    inputs: Inputs,
    data: Data,
    recipe: SegRecipe,
    context: RunContext,
    *,
    order: str,
) -> FitResult:
    """Train and leave `model` at its best epoch; ties go to the first."""
    masks = data.splits["train"].masks
    wanted = f"{recipe.selection}@{recipe.image_size}"

    def loss(index: Tensor, draws: torch.Generator) -> Tensor:
        logits = inputs.training_logits(index)
        target = nearest(masks[index], logits.shape[-2:]).to(context.device).long()
        return pixel_loss(logits, target, recipe)

    def validate() -> float:
        counts = grid_counts(inputs, "val", data.splits["val"], context)
        values = {m.id: m.value for m in metrics_from_counts(counts, str(recipe.image_size))}
        return values.get(wanted, 0.0)  # no foreground in reference and prediction

    return fit(
        model,
        samples=len(masks),
        loss=loss,
        validate=validate,
        optimisation=Optimisation(
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
        ),
        context=context,
        order=order,
    )


def _arrays(
    name: str, samples: Samples, evaluation: Evaluation, size: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Name what is stored of a split."""
    arrays = {
        f"{name}_id": samples.split.ids,
        f"{name}_counts@{size}": evaluation.counts,
        f"{name}_counts@native": evaluation.native_counts,
    }
    if samples.split.groups is not None:
        arrays[f"{name}_group"] = samples.split.groups
    return arrays


def _flags(counts: np.ndarray[Any, Any]) -> list[str]:
    """Say so if every pixel of every image was given one class; counts are [N, C, 4]."""
    predicted = counts[:, :, :2].sum(axis=(0, 2))  # true and false positives
    if np.count_nonzero(predicted) > 1:
        return []
    return ["CONSTANT: some seed predicts one class for every pixel"]


def _shown(count: int) -> np.ndarray[Any, Any]:
    """Return evenly spaced positions of test images."""
    return np.unique(np.linspace(0, count - 1, GALLERY).round().astype(np.int64))


def _trained(model: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """Return all that predicts; the random frozen parts are needed too."""
    return {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
