"""AdamW with the recipe's groups: which parameter is decayed, and at what rate it learns."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from timm.layers import LayerScale
from torch import Tensor, nn

from omnirad.recipe import PretrainRecipe
from omnirad.schedules import Schedules
from omnirad.student import Student

Group = dict[str, Any]
EMBEDDING = ("pos_embed", "cls_token", "mask_token", "patch_embed")  # before the first block


def parameter_groups(student: Student, recipe: PretrainRecipe) -> list[Group]:
    """Return AdamW's groups; every trained parameter is in exactly one.

    Beside `params` a group has `lr_factor`, `decayed` and `part` (`encoder`, `head` or
    `last_layer`), from which `set_rates` makes its rates.
    """
    undecayed = _undecayed(student)
    members: dict[tuple[str, float, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            key = (_part(name), lr_factor(name, student.depth, recipe), name not in undecayed)
            members[key].append(parameter)
    return [
        {"params": params, "part": part, "lr_factor": factor, "decayed": decayed}
        for (part, factor, decayed), params in members.items()
    ]


def lr_factor(name: str, depth: int, recipe: PretrainRecipe) -> float:
    """Return the factor of a parameter's learning rate (D2 `param_groups`).

    decay^(L + 1 - id): id 0 for what embeds the image, i + 1 for block i, L + 1 for the final norm
    and the heads. The patch embedding's is multiplied by `patch_embed_lr` as well.
    """
    parts = name.removeprefix("encoder.").split(".")
    if parts[0] in EMBEDDING:
        layer = 0
    elif parts[0] == "blocks":
        layer = int(parts[1]) + 1
    else:
        layer = depth + 1
    factor = recipe.layer_decay ** (depth + 1 - layer)
    return factor * (recipe.patch_embed_lr if parts[0] == "patch_embed" else 1.0)


def _part(name: str) -> str:
    if ".last_layer." in name:
        return "last_layer"
    return "encoder" if name.startswith(("encoder.", "mask_token")) else "head"


def _undecayed(student: nn.Module) -> set[str]:
    """Return the names of biases and of all that norms and LayerScale hold.

    By type of module: by substring, as in D2, `norm_last_layer` would count as a norm.
    """
    names = set()
    for prefix, module in student.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if name == "bias" or isinstance(module, (nn.LayerNorm, LayerScale)):
                names.add(f"{prefix}.{name}")
    return names


def build_optimiser(student: Student, recipe: PretrainRecipe) -> torch.optim.AdamW:
    """Return AdamW over the student; rates are set at every step."""
    groups = parameter_groups(student, recipe)
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, weight_decay=0.0, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, schedules: Schedules, step: int) -> None:
    """Set every group's learning rate and weight decay for this step."""
    frozen = set()
    if schedules.last_layer_frozen(step):
        frozen.add("last_layer")
    if schedules.encoder_frozen(step):
        frozen.add("encoder")
    lr, decay = schedules.lr(step), schedules.weight_decay(step)
    for group in optimiser.param_groups:
        group["lr"] = 0.0 if group["part"] in frozen else lr * group["lr_factor"]
        group["weight_decay"] = decay if group["decayed"] else 0.0


def clip_gradients(student: Student, limit: float) -> dict[str, Tensor]:
    """Scale the gradients of each sub-module to a norm of at most `limit` (D2).

    Returns:
        The norms before, scalars by sub-module.
    """
    return {
        name: nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
        for name, parameters in student.sub_modules().items()
    }
