"""Segmentation as the released code computes it: everything on full grids, for every image."""

from __future__ import annotations

import copy
import types

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.decoder import UpBlock
from omnibench_plugins.tasks.seg.fusion import Fusion, fusion_grids
from omnibench_plugins.tasks.seg.layers import resize
from omnibench_plugins.tasks.seg.model import SegmentationModel


def written_out(model: SegmentationModel) -> SegmentationModel:
    """Return a copy with the same parameters that computes every map at full size."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, Fusion):
            module.forward = types.MethodType(_fusion, module)
        if isinstance(module, UpBlock):
            module.forward = types.MethodType(_up_block, module)
    return twin


def _fusion(self: Fusion, taps: list[Tensor], levels: list[Tensor]) -> list[Tensor]:
    grids = fusion_grids([tap.shape[-2:] for tap in taps])
    fused = []
    for i, grid in enumerate(grids):
        both = torch.cat([resize(taps[i], grid), resize(levels[i], grid)], dim=1)
        joined = self.norms[i](self.projections[i](both))
        fused.append(resize(joined, levels[i].shape[-2:]))
    return fused


def _up_block(self: UpBlock, coarse: Tensor, fine: Tensor) -> Tensor:
    joined = self.join(torch.cat([resize(coarse, fine.shape[-2:]), fine], dim=1))
    return F.relu(self.refine(F.relu(self.norm(joined))))


def counts_by_masks(logits: Tensor, reference: Tensor) -> list[list[list[int]]]:
    """Return tp, fp, fn, tn of every image and class, each mask summed and fetched by itself."""
    predicted = logits.argmax(dim=1)
    return [
        [
            [
                ((p == c) & (r == c)).sum().item(),
                ((p == c) & (r != c)).sum().item(),
                ((p != c) & (r == c)).sum().item(),
                ((p != c) & (r != c)).sum().item(),
            ]
            for c in range(logits.shape[1])
        ]
        for p, r in zip(predicted, reference, strict=True)
    ]


def optimizer(model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    """Return AdamW over what is trained."""
    moved = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(moved, lr=1e-4, weight_decay=1e-4, fused=fused)
