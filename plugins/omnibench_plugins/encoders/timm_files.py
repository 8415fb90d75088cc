"""A weights file into a timm model: any of the formats timm knows, nothing resampled.

timm's filters read its own keys, open_clip towers and Meta's DINOv2 and DINOv3, but quietly
resample position tables and patch embeddings to whatever model they are given. Here the
model is built at the file's own position grid instead (so a 518 px DINOv2 file loads
exactly, and so does one trained further at 224 px), and any other resampling is refused.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from omnibench.checkpoint import load_checked, read_state
from omnibench.errors import IntegrityError

TRUNK = "visual.trunk."  # a timm tower inside an open_clip checkpoint
CLIP_NAMES = {
    "pos_embed": "visual.positional_embedding",
    "patch_embed.proj.weight": "visual.conv1.weight",
}


def load_file(create: Callable[[int | None], nn.Module], path: Path) -> nn.Module:
    """Return a model made by `create` with the file's parameters.

    Args:
        create: Makes the model for a native side in pixels, or for its own with None.
        path: Weights file.

    Raises:
        IntegrityError: If the file is damaged, or does not hold exactly this encoder.
    """
    state = read_state(path)
    model = create(None)
    side = _file_side(state, model, path)
    if side is not None:
        model = create(side)
    converted = _convert(state, model, path)
    _refuse_resampling(state, converted, path)
    load_checked(model, converted, head_prefixes=_head_prefixes(model), path=path)
    return model


def _file_side(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> int | None:
    """Return the file's native side in pixels where its position grid is not the model's."""
    table, own = _original(state, "pos_embed"), getattr(model, "pos_embed", None)
    embedding = getattr(model, "patch_embed", None)
    if table is None or own is None or embedding is None or table.shape[-2] == own.shape[-2]:
        return None
    entries = table.shape[-2]
    for prefix in (0, 1, int(getattr(model, "num_prefix_tokens", 0))):
        grid = math.isqrt(max(0, entries - prefix))
        if grid * grid == entries - prefix > 0:
            return grid * int(embedding.patch_size[0])
    raise IntegrityError(
        f"{path} does not fit: its position table has {entries} entries, which is no square grid"
    )


def _convert(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the state in the model's own key names, by the filter of its timm module."""
    module = importlib.import_module(type(model).__module__)
    convert: Callable[..., Mapping[str, Tensor]] | None = getattr(
        module, "checkpoint_filter_fn", None
    )
    if convert is None:
        return dict(state)
    try:
        # The filter for DINOv3 prints, and stdout may be carrying JSON.
        with contextlib.redirect_stdout(sys.stderr):
            return dict(convert(dict(state), model))
    except Exception as error:  # filters assume their formats and fail in many ways on others
        raise IntegrityError(
            f"{path} does not fit {type(model).__name__} ({error}); it belongs to another model"
        ) from error


def _original(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Return the tensor that a converted name comes from, where it keeps its shape."""
    for key in (name, TRUNK + name, CLIP_NAMES.get(name, name)):
        if key in state:
            return state[key]
    return None


def _refuse_resampling(
    state: Mapping[str, Tensor], converted: Mapping[str, Tensor], path: Path
) -> None:
    for name, tensor in converted.items():
        original = _original(state, name)
        # Models with registers keep the class token's position apart from the grid's.
        shrunk = 0 if name != "pos_embed" or original is None else original.shape[-1]
        if original is not None and tensor.numel() not in (
            original.numel(),
            original.numel() - shrunk,
        ):
            raise IntegrityError(
                f"{path} does not fit: {name} is {tuple(original.shape)} and would have to be "
                f"resampled to {tuple(tensor.shape)}. Use an encoder of the same patch and "
                "window size."
            )


def _head_prefixes(model: Any) -> tuple[str, ...]:
    """Return how names of the classifier begin, which the encoder was built without."""
    classifier = model.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return ("head.", "fc.", *(f"{name}." for name in names))
