"""Finds an encoder's weights, reads them without running code, and loads all of them or none."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from omnirad.architectures import Architecture, architecture
from omnirad.errors import IntegrityError, SetupError

logger = logging.getLogger(__name__)

PUBLISHED = "Snarcy/OmniRad-{size}"  # config.json declares cc-by-nc-4.0
DINOV2 = "timm/{name}.lvd142m"
HUB_TIMEOUT = 10.0  # seconds
SHIPPED = Path(__file__).parent / "weights"
TENSORS, CONFIG = "model.safetensors", "config.json"
WRAPPERS = ("state_dict", "model")
HEADS = ("head.", "fc.")  # a classifier, which encoders have not


def locate(weights: str | os.PathLike[str], size: str) -> Path:
    """Return the file that `weights` means.

    Args:
        weights: A file; a folder in the published layout (`config.json` and `model.safetensors`);
            or `published` (OmniRad's, from the hub), `dinov2` (timm's, from the hub) or `shipped`.
        size: Which encoder.

    Raises:
        SetupError: If there is no such file, here or on the hub.
        IntegrityError: If a folder's config.json is of another architecture.
    """
    wanted = architecture(size)
    if weights == "published":
        return _from_hub(PUBLISHED.format(size=size), wanted)
    if weights == "dinov2":
        return _from_hub(DINOV2.format(name=wanted.timm_name), wanted)
    folder = Path(SHIPPED / size if weights == "shipped" else weights)
    if weights == "shipped" and not (folder / TENSORS).is_file():
        raise SetupError(
            f"no weights of {size!r} are shipped with this installation; pretrain some, and give "
            "weights=PATH, or weights=None for random ones"
        )
    if not folder.is_dir():
        if not folder.is_file():
            raise SetupError(
                f"there are no weights at {folder}; give a file, an exported folder, or "
                "'published', 'dinov2' or 'shipped'"
            )
        return folder
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise SetupError(
                f"{folder} has no {name}; an exported folder holds {CONFIG}, {TENSORS}"
            )
    require_config(folder / CONFIG, wanted)
    return folder / TENSORS


def require_config(path: Path, wanted: Architecture) -> None:
    """Raise `IntegrityError` unless a config.json names the wanted architecture."""
    try:
        content = json.loads(path.read_text())
        found = content["architecture"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is no config.json of timm's form; export it again") from error
    if found != wanted.timm_name:
        raise IntegrityError(
            f"{path} is of {found!r}, not {wanted.timm_name!r}; ask for the size it belongs to"
        )


def _from_hub(repo: str, wanted: Architecture) -> Path:
    try:
        config, tensors = (_hub_file(repo, name) for name in (CONFIG, TENSORS))
    except Exception as error:  # which kinds the client raises differs from version to version
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise SetupError(
            f"the weights of {repo} are neither cached nor can they be fetched ({reason}): run "
            f"`hf download {repo}` where there is a network, or give weights=PATH"
        ) from error
    require_config(config, wanted)
    cfg = json.loads(config.read_text()).get("pretrained_cfg", {})
    logger.info(
        "weights of %s at commit %s, licence as declared: %s",
        *(repo, tensors.parent.name, cfg.get("license", "not declared")),
    )
    return tensors


def _hub_file(repo: str, name: str) -> Path:
    """Return a file of a repository, from the hub's cache or by download."""
    # Read at the client's import: it would tell the hub which torch and which programs are here.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )

    cached = try_to_load_from_cache(repo, name)
    if isinstance(cached, str):
        return Path(cached)
    # Without a network this fails at once; the download would try for half a minute.
    get_hf_file_metadata(hf_hub_url(repo, name), timeout=HUB_TIMEOUT)
    return Path(hf_hub_download(repo, name))


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a safetensors or PyTorch file (`weights_only`), on the CPU.

    Raises:
        IntegrityError: If the file is damaged, is something else, or holds Python objects.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    content: Any
    try:
        if path.suffix == ".safetensors" or start[8:] == b"{":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise IntegrityError(
            f"{path} is refused: it holds Python objects, or is no checkpoint; save the encoder's "
            "state dict as safetensors"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise IntegrityError(
            f"{path} cannot be read as weights ({reason}): fetch it again"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise IntegrityError(f"{path} is no state dict; save the encoder's named tensors alone")
    return {str(name): tensor for name, tensor in content.items()}


def load_encoder(
    encoder: nn.Module, state: Mapping[str, Tensor], path: Path, *, antialias: bool = True
) -> None:
    """Load weights in timm's or DINOv2's names, resampling the position table where grids differ.

    Args:
        encoder: A timm VisionTransformer; receives the values in its own precision.
        state: Named tensors; a mask token and a classifier are left out.
        path: For messages.
        antialias: How positions are resampled (bicubic): timm's way, or without antialiasing.

    Raises:
        IntegrityError: If a tensor is missing, surplus, of another shape or not finite.
    """
    from timm.models.vision_transformer import checkpoint_filter_fn

    own = encoder.state_dict()
    given = {
        name: tensor
        for name, tensor in state.items()
        if name != "mask_token" and not name.startswith(HEADS)
    }
    problems = {
        "missing": [name for name in own if name not in given],
        "surplus": [name for name in given if name not in own],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own.keys() & given.keys()
            if not _fits(name, given[name], own[name])
        ],
        "not finite": [n for n, t in given.items() if not bool(torch.isfinite(t).all())],
    }
    said = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{', …' * (len(names) > 3)})"
        for what, names in problems.items()
        if names
    ]
    if said:
        raise IntegrityError(
            f"{path} does not fit: of {len(own)} tensors {'; '.join(said)}. It belongs to another "
            "architecture, or is damaged; use weights of the size that is asked for"
        )
    # bicubic is not defined for half precision everywhere
    given = {name: tensor.float() for name, tensor in given.items()}
    # the filter's type is a plain dict that it may change
    encoder.load_state_dict(
        cast(dict[str, Tensor], checkpoint_filter_fn(given, encoder, antialias=antialias))
    )


def _fits(name: str, given: Tensor, own: Tensor) -> bool:
    """Tell whether shapes agree; a position table may have any square grid."""
    if name != "pos_embed":
        return given.shape == own.shape
    if given.ndim != 3 or given.shape[2] != own.shape[2]:
        return False
    patches = int(given.shape[1]) - 1  # beside the class token
    return patches > 0 and math.isqrt(patches) ** 2 == patches
