"""One run of segmentation: images, modules on a frozen encoder, training, pixel counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnibench.forward import flops_per_image, parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, Outcome, RunContext
from omnibench.metrics.segmentation import metrics_from_counts
from omnibench.seeding import seed_initialisation
from omnibench.training import FitResult, Optimisation, fit
from omnibench_plugins.tasks.frozen import unchanged
from omnibench_plugins.tasks.seg.evaluate import Evaluation, evaluate, grid_counts
from omnibench_plugins.tasks.seg.inputs import FrozenInputs, Inputs, WholeInputs
from omnibench_plugins.tasks.seg.losses import nearest, pixel_loss
from omnibench_plugins.tasks.seg.model import SegmentationModel, WholeNetwork, read_taps
from omnibench_plugins.tasks.seg.recipe import SegRecipe
from omnibench_plugins.tasks.seg.samples import Data, Samples, read_data

GALLERY = 6  # test images whose predicted maps are stored


def run(handle: EncoderHandle, dataset: Dataset, recipe: SegRecipe, context: RunContext) -> Outcome:
    """Train on one seed and count the pixels of validation and test (OmniRad, Sec. 3.3).

    Raises:
        PluginError: If an encoder changes although it is frozen.
    """
    _try_out(handle, recipe)
    data = read_data(dataset, recipe, context.progress)
    if recipe.model == "end_to_end":
        seed_initialisation(context.seed)
        channels = 1 if data.classes == 2 else data.classes
        network = WholeNetwork(handle.build_end_to_end(channels)).to(context.device)
        inputs: Inputs = WholeInputs(network, data, context)
        return _outcome(network, inputs, data, recipe, context, dataset.name)
    encoder = handle.build(normalization=recipe.normalization, pool=recipe.pool)
    seed_initialisation(context.seed)
    model = SegmentationModel(encoder, data.classes, recipe).to(context.device)
    with unchanged(model.encoder, handle.card.name):
        inputs = FrozenInputs(model, data, context)
        return _outcome(model, inputs, data, recipe, context, dataset.name)


def _try_out(handle: EncoderHandle, recipe: SegRecipe) -> None:
    """Build once and read one black image: what cannot work is refused before data are read."""
    if recipe.model == "end_to_end":
        handle.build_end_to_end(1)
        return
    encoder = handle.build(normalization=recipe.normalization, pool=recipe.pool)
    read_taps(encoder, torch.zeros(1, 3, recipe.image_size, recipe.image_size), recipe.extractor)


def _outcome(
    model: nn.Module,
    inputs: Inputs,
    data: Data,
    recipe: SegRecipe,
    context: RunContext,
    order: str,
) -> Outcome:
    course = _train(model, inputs, data, recipe, context, order=order)
    found = {n: evaluate(inputs, n, data.splits[n], context) for n in ("val", "test")}
    predictions: dict[str, np.ndarray[Any, Any]] = {}
    for name, evaluation in found.items():
        predictions |= _arrays(name, data.splits[name], evaluation, recipe.image_size)
    total, trainable = parameter_counts(model)
    return Outcome(
        predictions=predictions | _gallery(data, found["test"].maps, recipe.image_size),
        params_total=total,
        params_trainable=trainable,
        flops_per_image=flops_per_image(model, recipe.image_size, context.device),
        images_per_second=found["test"].images_per_second,
        details={
            "best_epoch": course.best_epoch,
            "train_losses": course.losses,
            f"val_{recipe.selection}": course.scores,
            "mask_values": data.values,
            "flags": _flags(found["test"].maps),
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


def _flags(maps: np.ndarray[Any, Any]) -> list[str]:
    """Say so if every pixel of every image was given one class."""
    if len(np.unique(maps)) > 1:
        return []
    return ["CONSTANT: some seed predicts one class for every pixel"]


def _gallery(data: Data, maps: np.ndarray[Any, Any], size: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return evenly spaced test ids and their predicted maps, in the dataset's mask values."""
    rows = np.unique(np.linspace(0, len(maps) - 1, GALLERY).round().astype(np.int64))
    values = np.array(data.values["train"], dtype=np.uint8)
    return {
        "gallery_id": data.splits["test"].split.ids[rows],
        f"gallery_mask@{size}": values[maps[rows]],
    }


def _trained(model: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """Return all that is not the encoder's; the random frozen parts are needed to predict too."""
    return {
        name: tensor.cpu().numpy()
        for name, tensor in model.state_dict().items()
        if not name.startswith("encoder.")
    }
