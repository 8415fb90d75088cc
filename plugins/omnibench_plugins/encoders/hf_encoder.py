"""Vision models in transformers' format: DINOv2, DINOv3, SigLIP, CLIP, ViT.

What `last_hidden_state` means differs: it has the final norm everywhere but in CLIP.
`hidden_states[i + 1]` is block i, never normed. Only classes that ship with transformers are
built; code in a repository is never run.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.utils import logging

from omnibench.checkpoint import read_state, require_finite
from omnibench.encoder import Encoder, Features
from omnibench.errors import IntegrityError, UsageError
from omnibench_plugins.encoders.layer_scale import open_layer_scale
from omnibench_plugins.encoders.references import HF_LINEARS

# What a repository may hold besides the image encoder: text towers and heads.
SURPLUS = (
    "text_model.",
    "text_projection",
    "visual_projection",
    "logit_",
    "classifier.",
    "pooler.",
    "decoder.",
)


@dataclass(frozen=True)
class Architecture:
    """How one model type of transformers names and does things."""

    model: str
    norm: str  # attribute of the final norm
    class_token: bool = True
    normed: bool = True  # does last_hidden_state have the final norm
    pooler: bool = (
        False  # is pooler_output the checkpoint's own pooling, rather than the class token
    )


ARCHITECTURES = {
    "dinov2": Architecture("Dinov2Model", "layernorm"),
    "dinov2_with_registers": Architecture("Dinov2WithRegistersModel", "layernorm"),
    "dinov3_vit": Architecture("DINOv3ViTModel", "norm"),
    "vit": Architecture("ViTModel", "layernorm"),
    "siglip_vision_model": Architecture(
        "SiglipVisionModel", "post_layernorm", class_token=False, pooler=True
    ),
    "clip_vision_model": Architecture(
        "CLIPVisionModel", "post_layernorm", normed=False, pooler=True
    ),
}


class HfEncoder(Encoder):
    """A transformers vision model.

    Args:
        backbone: The model.
        architecture: How it does things.
        mean: Own mean, three values (equal ones for a one-channel model).
        std: Own standard deviation.
    """

    def __init__(
        self, backbone: Any, architecture: Architecture, mean: list[float], std: list[float]
    ) -> None:
        config = backbone.config
        super().__init__(
            backbone,
            embed_dim=config.hidden_size,
            patch_size=_patch_size(config),
            depth=config.num_hidden_layers,
            mean=mean,
            std=std,
            lora_targets=HF_LINEARS,
        )
        self.architecture = architecture
        self.grey = config.num_channels == 1
        self.prefix_tokens = int(architecture.class_token) + int(
            getattr(config, "num_register_tokens", 0)
        )
        self._options: dict[str, Any] = {}
        if "interpolate_pos_encoding" in inspect.signature(backbone.forward).parameters:
            self._options["interpolate_pos_encoding"] = True

    def _run(self, x: Tensor, **options: Any) -> Any:
        x = x.mean(dim=1, keepdim=True) if self.grey else x
        return self.backbone(pixel_values=x, **self._options, **options)

    def _norm(self, x: Tensor) -> Tensor:
        normed: Tensor = getattr(self.backbone, self.architecture.norm)(x)
        return normed

    def _features(self, x: Tensor) -> Features:
        out = self._run(x)
        last = out.last_hidden_state
        sequence = last if self.architecture.normed else self._norm(last)
        prefix, tokens = sequence[:, : self.prefix_tokens], sequence[:, self.prefix_tokens :]
        pooled = out.pooler_output if self.architecture.pooler else prefix[:, 0]
        if pooled is None:  # SigLIP published without its pooling head
            pooled = tokens.mean(dim=1)
        return Features(pooled, tokens, prefix if self.prefix_tokens else None, self._grid(x))

    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        states = self._run(x, output_hidden_states=True).hidden_states
        chosen = [self._norm(states[i + 1]) if norm else states[i + 1] for i in layers]
        return [
            y[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, self._grid(x)).contiguous()
            for y in chosen
        ]

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size


def build(weights: Path, *, random_init: bool = False) -> HfEncoder:
    """Build an encoder from files in one folder.

    Args:
        weights: Weights file beside `config.json` and `preprocessor_config.json`; with
            `random_init` any file of that folder.
        random_init: Draw parameters instead, with LayerScale at 1.

    Raises:
        UsageError: If transformers has the model type under no class that is known here.
        IntegrityError: If a file is damaged or does not hold exactly this encoder.
    """
    facts = _read_json(weights.parent / "config.json")
    facts = facts.get("vision_config", facts) | {"model_type": _model_type(facts)}
    architecture = ARCHITECTURES.get(facts["model_type"])
    if architecture is None:
        raise UsageError(
            f"hf: a model of type {facts['model_type']!r} cannot be used; known are "
            f"{', '.join(ARCHITECTURES)}. Write a plugin for others."
        )
    model_class = getattr(transformers, architecture.model)
    config = model_class.config_class.from_dict(facts)
    options = {"add_pooling_layer": False} if architecture.model == "ViTModel" else {}
    if random_init:
        backbone = model_class(config, **options)
        open_layer_scale(backbone)
    else:
        backbone = _loaded(model_class, config, options, weights)
    mean, std = _statistics(_read_json(weights.parent / "preprocessor_config.json"))
    return HfEncoder(backbone, architecture, mean, std)


def _loaded(model_class: Any, config: Any, options: dict[str, Any], path: Path) -> Any:
    """Load through transformers, which renames old keys, and check what it did."""
    state = read_state(path)
    require_finite(state, path)
    try:
        with _quiet():
            backbone, report = model_class.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except RuntimeError as error:
        raise IntegrityError(f"{path} does not fit: {error}") from error
    base = f"{model_class.base_model_prefix}."
    surplus = [k for k in report["unexpected_keys"] if not k.removeprefix(base).startswith(SURPLUS)]
    missing = [*report["missing_keys"], *report["mismatched_keys"]]
    if missing or surplus:
        some = ", ".join(str(key) for key in [*missing, *surplus][:3])
        raise IntegrityError(
            f"{path} does not fit {model_class.__name__}: {len(missing)} tensors missing or of "
            f"another shape, {len(surplus)} surplus ({some}). It belongs to another model."
        )
    backbone.__dict__["key_coverage"] = f"{len(state)} tensors, all taken or of a head left out"
    return backbone


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' own report of keys, which is checked here instead."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _model_type(facts: dict[str, Any]) -> str:
    """Return the model type of the image tower, which two-tower configurations nest."""
    name = str(facts.get("model_type", ""))
    return f"{name}_vision_model" if "vision_config" in facts else name


def _patch_size(config: Any) -> int:
    size = config.patch_size
    return int(size if isinstance(size, int) else size[0])


def _statistics(facts: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation for RGB in [0, 1]."""
    if not facts.get("do_normalize", True):
        return [0.0] * 3, [1.0] * 3
    try:
        mean, std = list(facts["image_mean"]), list(facts["image_std"])
    except KeyError as error:
        raise IntegrityError(
            f"preprocessor_config.json does not say {error}: the model's own normalisation is "
            "unknown; add it to a copy and give that folder's file with --weights FILE"
        ) from error
    return (mean * 3, std * 3) if len(mean) == 1 else (mean, std)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read as JSON ({error}); fetch it again") from error
    if not isinstance(facts, dict):
        raise IntegrityError(f"{path} holds no JSON object; fetch it again")
    return facts
