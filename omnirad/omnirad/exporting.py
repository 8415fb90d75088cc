"""Writes an encoder in the layout of the published OmniRad: config.json and model.safetensors.

`timm.create_model("local-dir:FOLDER", pretrained=True)` loads it, at any size.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from omnirad.architectures import ARCHITECTURES, MEAN, STD
from omnirad.errors import SetupError, UsageError
from omnirad.weights import CONFIG, TENSORS


def export(
    encoder: nn.Module,
    folder: str | os.PathLike[str],
    *,
    tag: str = "omnirad-repro",
    licence: str = "apache-2.0",
    fp16: bool = False,
) -> Path:
    """Write `config.json` and `model.safetensors` into a new folder, both or none.

    Args:
        encoder: A timm VisionTransformer in one of the sizes (a teacher's `encoder`).
        folder: Must not exist, or be empty.
        tag: Name of these weights; not the published ones' `lvd142m`, which is DINOv2's.
        licence: Of these weights, which follows from the images and the initial weights.
        fp16: Store half precision: half the size; values are rounded.

    Returns:
        The folder.

    Raises:
        UsageError: If it is no such encoder or has none of the sizes, or the folder is in use.
        SetupError: If it cannot be written.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty; choose a new folder")
    config = config_of(encoder, tag=tag, licence=licence)
    state = {n: _stored(t, fp16) for n, t in encoder.state_dict().items()}
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        draft.chmod(0o755)
        save_file(state, draft / TENSORS, metadata={"format": "pt"})
        (draft / TENSORS).chmod(0o644)  # safetensors lets the owner alone read it
        (draft / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        draft.replace(target)
    except OSError as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        raise SetupError(
            f"{target} cannot be written ({error}); free some space, or choose another folder"
        ) from error
    return target


def config_of(encoder: nn.Module, *, tag: str, licence: str) -> dict[str, Any]:
    """Return config.json's content, field for field as the published OmniRad-base has it.

    `model_args` is added where timm's architecture of that name has another geometry.
    """
    if not isinstance(encoder, VisionTransformer):
        raise UsageError(
            f"{type(encoder).__name__} is no timm VisionTransformer; export a teacher's `encoder`"
        )
    vit = cast(Any, encoder)
    heads = vit.blocks[0].attn.num_heads
    kind = next(
        (
            each
            for each in ARCHITECTURES.values()
            if (vit.embed_dim, len(vit.blocks), heads)
            == (each.embed_dim, each.depth, each.num_heads)
        ),
        None,
    )
    if kind is None:
        raise UsageError(
            f"an encoder of width {vit.embed_dim}, depth {len(vit.blocks)} and {heads} heads is "
            f"none of {', '.join(ARCHITECTURES)}; only those are exported"
        )
    img_size = vit.patch_embed.img_size[0]
    config: dict[str, Any] = {
        "architecture": kind.timm_name,
        "num_classes": 0,
        "num_features": kind.embed_dim,
        "global_pool": "token",
        "pretrained_cfg": {
            "tag": tag,
            "custom_load": False,
            "input_size": [3, img_size, img_size],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": licence,
        },
    }
    if kind.customised:
        config["model_args"] = {
            "img_size": img_size,
            "embed_dim": kind.embed_dim,
            "depth": kind.depth,
            "num_heads": kind.num_heads,
        }
    return config


def _stored(tensor: Tensor, fp16: bool) -> Tensor:
    kept = tensor.detach().cpu().contiguous()
    return kept.half() if fp16 and kept.is_floating_point() else kept
