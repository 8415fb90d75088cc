"""open_clip image towers as encoders; the text tower is neither built nor loaded.

With the same weights the result equals timm's. Pooling is the class token before the projection
to the text space, as in timm, so that `open_clip:` and `clip-base` can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import _build_vision_tower
from open_clip.pretrained import get_pretrained_cfg
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from omnibench.checkpoint import load_checked, read_state
from omnibench.encoder import Encoder, Features
from omnibench.errors import UsageError
from omnibench_plugins.encoders.layer_scale import open_layer_scale
from omnibench_plugins.encoders.references import OPEN_CLIP_LINEARS
from omnibench_plugins.encoders.timm_encoder import TimmEncoder

VISUAL = "visual."
TRUNK = "visual.trunk."


class Tower(nn.Module):
    """The image tower under the name it has in open_clip's checkpoints.

    Args:
        visual: open_clip's transformer.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, x: Tensor, **options: Any) -> dict[str, Any]:
        """Return maps [B, C, h, w] and prefix tokens of the wanted blocks of images x."""
        out: dict[str, Any] = self.visual.forward_intermediates(
            x, output_fmt="NCHW", intermediates_only=True, stop_early=True, **options
        )
        return out


class OpenClipEncoder(Encoder):
    """An open_clip vision transformer with a class token.

    Args:
        tower: The wrapped tower.
        mean: Own mean.
        std: Own standard deviation.
    """

    def __init__(self, tower: Tower, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        visual = tower.visual
        super().__init__(
            tower,
            embed_dim=visual.conv1.out_channels,
            patch_size=visual.patch_size[0],
            depth=len(visual.transformer.resblocks),
            mean=mean,
            std=std,
            lora_targets=OPEN_CLIP_LINEARS,
        )
        self.native_grid = (visual.grid_size[0], visual.grid_size[1])

    def _features(self, x: Tensor) -> Features:
        out = self._run(
            x, indices=[self.depth - 1], normalize_intermediates=True, output_extra_tokens=True
        )
        last, prefix = out["image_intermediates"][0], out["image_intermediates_prefix"][0]
        height, width = last.shape[-2:]
        return Features(prefix[:, 0], last.flatten(2).transpose(1, 2), prefix, (height, width))

    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        out = self._run(x, indices=list(layers), normalize_intermediates=norm)
        maps: list[Tensor] = out["image_intermediates"]
        return maps

    def _run(self, x: Tensor, **options: Any) -> dict[str, Any]:
        """Run the tower with positions resampled, as timm does, where the grid is not its own."""
        grid = (x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size)
        if grid == self.native_grid:
            out: dict[str, Any] = self.backbone(x, **options)
            return out
        name, table = next(
            (n, p)
            for n, p in self.backbone.named_parameters()
            if n.endswith("visual.positional_embedding")
        )
        resampled = resample_abs_pos_embed(
            table[None], new_size=list(grid), old_size=list(self.native_grid), num_prefix_tokens=1
        )[0]
        out = torch.func.functional_call(self.backbone, {name: resampled}, (x,), options)
        return out


def build(
    arch: str, tag: str, *, weights: Path | None = None, random_init: bool = False
) -> Encoder:
    """Build the image tower of an open_clip model.

    Args:
        arch: Architecture, as open_clip names it.
        tag: Published weights, which say mean, standard deviation and activation; empty for none.
        weights: Checkpoint in open_clip's format, with or without its text tower.
        random_init: Draw parameters instead, with LayerScale at 1.

    Raises:
        UsageError: If the tower has no class token, or nothing says where parameters come from.
        IntegrityError: If the file does not hold exactly this tower.
    """
    if weights is None and not random_init:
        raise UsageError(
            f"open_clip:{arch} names no published weights; write open_clip:{arch}/TAG with one of "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(arch)) or 'none'}, or give "
            "--weights FILE or --random-weights"
        )
    config = open_clip.get_model_config(arch)
    published = get_pretrained_cfg(arch, tag) if tag else {}
    visual = _build_vision_tower(
        config["embed_dim"],
        config["vision_cfg"] | {"timm_model_pretrained": False},
        # Weights trained with QuickGELU need it, also under an architecture's plain name.
        quick_gelu=bool(config.get("quick_gelu") or published.get("quick_gelu")),
    )
    if random_init:
        open_layer_scale(visual)
    mean = tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN))
    std = tuple(published.get("std", open_clip.OPENAI_DATASET_STD))
    state = {} if weights is None or random_init else read_state(weights)
    if isinstance(visual, TimmModel):
        if weights is not None and not random_init:
            # as open_clip publishes it, or the state dict of this encoder itself
            trunk = {k.removeprefix(TRUNK): v for k, v in state.items() if k.startswith(TRUNK)}
            load_checked(visual.trunk, trunk or state, path=weights)
        return TimmEncoder(visual.trunk, mean=mean, std=std)
    if not isinstance(visual, VisionTransformer) or visual.attn_pool or visual.pool_type != "tok":
        raise UsageError(
            f"open_clip:{arch} cannot be used: its image tower pools without a class token"
        )
    tower = Tower(visual)
    if weights is not None and not random_init:
        own = {k: v for k, v in state.items() if k.startswith(VISUAL)}
        load_checked(tower, own, path=weights)
    return OpenClipEncoder(tower, mean, std)
