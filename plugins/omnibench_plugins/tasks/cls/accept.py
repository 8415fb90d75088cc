"""Which encoders and datasets a labelled task can use; read before torch is imported."""

from __future__ import annotations

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench_plugins.tasks.checks import misfit, other_kind


def refusal(dataset: DatasetSpec, encoder: EncoderSpec, image_size: int) -> str | None:
    """Return why one label an image cannot be predicted from an encoder's features, or None."""
    if reason := other_kind(dataset, "labels"):
        return reason
    if dataset.multi_label:
        return (
            f"dataset {dataset.name!r} has several labels an image, this task predicts exactly one; "
            "choose a single-label dataset"
        )
    if encoder.end_to_end:
        return (
            f"encoder {encoder.name!r} is a whole segmentation network without features to classify; "
            "use --task seg --recipe medsegbench"
        )
    step = encoder.patch_size
    return misfit(image_size, step, f"the patch size {step} of encoder {encoder.name!r}")


def no_lora(name: str) -> str:
    """Return why LoRA cannot be used with an encoder that names no layers for it."""
    return f"{name} names no layers for LoRA (lora_targets); use --tuning full or --tuning head"
