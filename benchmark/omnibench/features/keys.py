"""What frozen outputs depend on, down to the software that can change a bit."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from omnibench import environment
from omnibench.cards import Normalization, Precision
from omnibench.features.readings import Reading
from omnibench.interfaces import Dataset
from omnibench.subset import reader_of

if TYPE_CHECKING:
    from omnibench.handle import EncoderHandle

FORMAT = 1  # raised when shards or what is read into them change
DECODERS = ("numpy", "pillow", "pydicom", "torch")
ENCODERS = (
    "numpy",
    "open_clip_torch",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
    "transformers",
)


def image_identity(
    dataset: Dataset, split: str, kind: str, size: int, antialias: bool
) -> dict[str, Any]:
    """Return what decoded images or masks of a split depend on."""
    ids = dataset.split(split).ids
    return {
        "format": FORMAT,
        "kind": kind,
        "dataset": dataset.name,
        "content": dataset.digest,
        "facts": dict(dataset.facts),
        "split": split,
        "ids": hashlib.sha256(ids.tobytes()).hexdigest(),
        "size": size,
        "antialias": antialias,
        "packages": environment.versions(DECODERS),
        "code": environment.frozen_code((reader_of(dataset),)),
        "machine": machine("cpu"),
    }


def encoder_identity(
    handle: EncoderHandle,
    reading: Reading,
    *,
    normalization: Normalization,
    size: int,
    device: str,
    precision: Precision,
) -> dict[str, Any]:
    """Return what a reading of images of one size depends on, besides the images.

    Args:
        handle: The encoder.
        reading: What is read off it.
        normalization: The recipe's.
        size: Side of the images in pixels.
        device: Torch device.
        precision: Of the forward pass.
    """
    weights, card = handle.weights, handle.card
    return {
        "format": FORMAT,
        "kind": reading.kind,
        "encoder": card.name,
        "plugin": handle.origin,
        "weights": [weights.kind, weights.sha256],
        "code": environment.frozen_code((handle.module, reading.read.__module__)),
        "normalization": normalization,
        "size": size,
        "precision": precision,
        "packages": environment.versions(ENCODERS),
        "machine": machine(device),
    }


def machine(device: str) -> dict[str, Any]:
    """Return what of this machine decides which kernels run."""
    told: dict[str, Any] = {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.startswith("cuda"):
        told |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        }
    return told
