"""Any timm model as an encoder: ViT, Eva, CNN, hierarchical transformer.

Of timm only `create_model`, `forward_features`, `forward_head` and `forward_intermediates` are
used. Models are made without head, at their native grid, with positions resampled in each
forward: making them for another size would resample twice.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models import create_model, is_model, list_models, list_pretrained
from torch import Tensor, nn

from omnibench.encoder import Encoder, Features, thirds
from omnibench.errors import PluginError, UsageError, suggestion
from omnibench_plugins.encoders.cards import BLOCK_LINEARS
from omnibench_plugins.encoders.layer_scale import open_layer_scale
from omnibench_plugins.encoders.timm_files import load_file


class TimmEncoder(Encoder):
    """A headless timm model.

    `Features.prefix` is None for models without a class token, also where they have registers.
    `checkpoint` pooling is the model's own: class token, mean of patches (DINOv3), attention
    pooling (SigLIP), or global average (CNNs).

    Args:
        backbone: Made by timm with `num_classes=0`.
        mean: Own mean, where it is not the one in timm's configuration.
        std: Own standard deviation, likewise.
    """

    def __init__(
        self,
        backbone: Any,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        stages = [backbone.feature_info[i] for i in range(len(backbone.feature_info))]
        flat = len({stage["reduction"] for stage in stages}) == 1
        depth = len(stages)
        super().__init__(
            backbone,
            embed_dim=backbone.num_features,
            pooled_dim=getattr(backbone, "head_hidden_size", backbone.num_features),
            patch_size=stages[-1]["reduction"] if flat else 1,
            depth=depth,
            mean=mean or backbone.pretrained_cfg["mean"],
            std=std or backbone.pretrained_cfg["std"],
            layer_channels=[stage["num_chs"] for stage in stages],
            dense_layers=thirds(depth) if flat else range(max(0, depth - 3), depth),
            lora_targets=BLOCK_LINEARS if hasattr(backbone, "blocks") and flat else "all-linear",
        )
        self.reduction = int(stages[-1]["reduction"])  # pixels a side of one final token
        self.prefix_tokens = int(getattr(backbone, "num_prefix_tokens", 0) or 0)
        self.has_class_token = getattr(backbone, "cls_token", None) is not None
        self.fixed_size = _fixed_size(backbone)
        for module in backbone.modules():
            # Otherwise BEiT and biased Eva call the projection's weight behind its module's back,
            # and LoRA adapters on it are never used.
            if hasattr(module, "qkv_bias_separate"):
                module.qkv_bias_separate = True

    @property
    def _model(self) -> Any:
        return self.backbone

    def _features(self, x: Tensor) -> Features:
        self._check_size(x)
        raw = self._model.forward_features(x)
        pooled = self._model.forward_head(raw, pre_logits=True)
        if raw.ndim == 4:
            grid_first = raw if self._model_output_is_nhwc else raw.permute(0, 2, 3, 1)
            height, width = grid_first.shape[1:3]
            return Features(pooled, grid_first.flatten(1, 2), None, (height, width))
        grid = (x.shape[-2] // self.reduction, x.shape[-1] // self.reduction)
        tokens = raw[:, self.prefix_tokens :]
        if tokens.shape[1] != grid[0] * grid[1]:
            raise PluginError(
                f"{type(self.backbone).__name__} gives {tokens.shape[1]} tokens for a "
                f"{grid[0]}x{grid[1]} grid; it cannot be used as an encoder of this size"
            )
        prefix = raw[:, : self.prefix_tokens] if self.has_class_token else None
        return Features(pooled, tokens, prefix, grid)

    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        self._check_size(x)
        maps: list[Tensor] = self._model.forward_intermediates(
            x,
            indices=list(layers),
            norm=norm,
            output_fmt="NCHW",
            intermediates_only=True,
            stop_early=True,
        )
        return maps

    @property
    def _model_output_is_nhwc(self) -> bool:
        return getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"

    def _check_size(self, x: Tensor) -> None:
        size = tuple(x.shape[-2:])
        if self.fixed_size is not None and size != self.fixed_size:
            raise UsageError(
                f"{type(self.backbone).__name__} takes {self.fixed_size[0]}x{self.fixed_size[1]} "
                f"images only, not {size[0]}x{size[1]}; use --set image_size={self.fixed_size[0]}"
            )


def build(
    arch: str,
    *,
    weights: Path | None = None,
    random_init: bool = False,
    img_size: int | None = None,
) -> TimmEncoder:
    """Build a timm encoder.

    Args:
        arch: timm's name, with or without a tag; the tag brings mean and standard deviation.
        weights: File to load.
        random_init: Draw parameters instead, with LayerScale at 1.
        img_size: Native side in pixels, where it is not the architecture's own; a weights file
            with another position grid brings its own.

    Raises:
        UsageError: If timm does not know the name, or nothing says where parameters come from.
        IntegrityError: If the file does not hold exactly this encoder.
    """
    _check_name(arch)
    make = partial(_create, arch, img_size)
    if random_init:
        model = make(None)
        open_layer_scale(model)
    elif weights is not None:
        model = load_file(make, weights)
    else:
        tags = ", ".join(f"timm:{name}" for name in list_pretrained(f"{arch}.*")) or "none"
        raise UsageError(
            f"timm:{arch} names no pretrained weights; give --weights FILE or --random-weights, or "
            f"one of those that timm publishes: {tags}"
        )
    return TimmEncoder(model)


def _create(arch: str, img_size: int | None, file_side: int | None) -> nn.Module:
    """Make a headless model; `file_side`, the native side of a file, wins."""
    with torch.device("meta"):
        outline = create_model(arch, pretrained=False, num_classes=0)
    options: dict[str, Any] = {}
    if "dynamic_img_size" in inspect.signature(type(outline).__init__).parameters:
        options["dynamic_img_size"] = True
    side = file_side or img_size
    if side is not None:
        options["img_size"] = side
    model: nn.Module = create_model(arch, pretrained=False, num_classes=0, **options)
    if not hasattr(model, "forward_intermediates"):
        raise UsageError(f"timm:{arch} cannot be used: it has no forward_intermediates")
    return model


def _check_name(arch: str) -> None:
    name, _, tag = arch.partition(".")
    if not is_model(name):
        raise UsageError(
            f"timm has no model {name!r}.{suggestion(name, list_models())} "
            "timm.list_models() shows all."
        )
    if tag and arch not in (known := list_pretrained(f"{name}.*")):
        raise UsageError(f"timm has no weights {arch!r}.{suggestion(arch, known)}")


def _fixed_size(backbone: Any) -> tuple[int, int] | None:
    """Return the only size (h, w) that a model takes, or None."""
    embedding: Any = getattr(backbone, "patch_embed", None)
    if not getattr(embedding, "strict_img_size", False) or embedding.img_size is None:
        return None
    height, width = embedding.img_size
    return int(height), int(width)
