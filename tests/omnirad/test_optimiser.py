"""Test 12: which parameter learns at what rate, and which are decayed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timm.layers import LayerScale

from omnirad.optimiser import (
    build_optimiser,
    clip_gradients,
    lr_factor,
    parameter_groups,
    set_rates,
)
from omnirad.presets import NANO, preset
from omnirad.recipe import PretrainRecipe
from omnirad.schedules import Schedules
from omnirad.student import Student
from omnirad.student_teacher import build_student

TINY = replace(NANO, prototypes=32, head_hidden=16, head_bottleneck=8)


def student(recipe: PretrainRecipe = TINY) -> Student:
    return build_student(recipe, seed=0)


def group_of(net: Student, recipe: PretrainRecipe) -> dict[str, dict]:
    """Return the group of every parameter by name; fails if one is in two."""
    names = {id(p): n for n, p in net.named_parameters()}
    found: dict[str, dict] = {}
    for group in parameter_groups(net, recipe):
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group
    return found


@pytest.mark.parametrize("separate", [False, True])
def test_every_trained_parameter_is_in_exactly_one_group(separate):
    recipe = replace(TINY, separate_head=separate, norm_last_layer=True)
    net = student(recipe)
    trained = {n for n, p in net.named_parameters() if p.requires_grad}
    assert group_of(net, recipe).keys() == trained
    assert not any("original0" in name for name in trained)


def test_layers_learn_more_slowly_towards_the_input():
    """D2: decay^(L + 1 - id) with L = 12, and a fifth for the patch embedding."""
    recipe = preset("scratch")
    d = recipe.layer_decay
    assert d == 0.9
    wanted = {
        "encoder.pos_embed": d**13,
        "encoder.cls_token": d**13,
        "mask_token": d**13,
        "encoder.patch_embed.proj.weight": 0.2 * d**13,
        "encoder.patch_embed.proj.bias": 0.2 * d**13,
        "encoder.blocks.0.attn.qkv.weight": d**12,
        "encoder.blocks.11.mlp.fc2.bias": d,
        "encoder.norm.weight": 1.0,
        "dino_head.mlp.0.weight": 1.0,
        "ibot_head.last_layer.parametrizations.weight.original1": 1.0,
    }
    assert {n: lr_factor(n, 12, recipe) for n in wanted} == pytest.approx(wanted)


def test_in_the_papers_preset_only_the_patch_embedding_differs():
    net = student()
    factors = {n: lr_factor(n, 12, preset("paper")) for n, _ in net.named_parameters()}
    assert {n for n, f in factors.items() if f != 1} == {
        "encoder.patch_embed.proj.weight",
        "encoder.patch_embed.proj.bias",
    }


def test_biases_norms_and_layer_scales_are_not_decayed_and_tokens_are():
    net = student()
    groups = group_of(net, TINY)
    undecayed = {n for n, g in groups.items() if not g["decayed"]}
    wanted = {n for n, _ in net.named_parameters() if n.endswith(".bias")}
    for prefix, module in net.named_modules():
        if isinstance(module, (torch.nn.LayerNorm, LayerScale)):
            wanted |= {f"{prefix}.{n}" for n, _ in module.named_parameters()}
    assert undecayed == wanted
    assert "encoder.blocks.0.ls1.gamma" in undecayed and "encoder.norm.weight" in undecayed
    for name in ("encoder.pos_embed", "encoder.cls_token", "mask_token"):
        assert groups[name]["decayed"]
    last = [n for n in groups if ".last_layer." in n]
    assert len(last) == 2 and all(groups[n]["decayed"] for n in last)


def rates(recipe: PretrainRecipe, step: int) -> dict[tuple[str, bool, float], tuple[float, float]]:
    optimiser = build_optimiser(student(recipe), recipe)
    set_rates(optimiser, Schedules(recipe, 10), step)
    return {
        (g["part"], g["decayed"], g["lr_factor"]): (g["lr"], g["weight_decay"])
        for g in optimiser.param_groups
    }


def test_rates_are_the_schedules_times_the_factors():
    schedules = Schedules(TINY, 10)
    found = rates(TINY, 50)
    assert found["encoder", True, 1.0] == (schedules.lr(50), schedules.weight_decay(50))
    assert found["encoder", False, 1.0] == (schedules.lr(50), 0)
    assert found["encoder", True, 0.2][0] == pytest.approx(0.2 * schedules.lr(50))


def test_frozen_parts_have_a_rate_of_zero():
    recipe = replace(TINY, freeze_last_layer_epochs=1.0, freeze_encoder_steps=5)

    def still(step: int) -> set[str]:
        return {part for (part, _, _), (lr, _) in rates(recipe, step).items() if lr == 0}

    assert still(4) == {"encoder", "last_layer"}
    assert still(5) == still(9) == {"last_layer"}
    assert still(10) == set()


def test_a_frozen_encoder_does_not_move():
    recipe = replace(TINY, freeze_encoder_steps=5)
    net = student(recipe)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimiser = build_optimiser(net, recipe)
    set_rates(optimiser, Schedules(recipe, 10), 4)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimiser.step()
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all(n.startswith("dino_head.") for n in moved)


def test_gradients_are_clipped_for_each_sub_module():
    net = student(replace(TINY, separate_head=True))
    for i, parameters in enumerate(net.sub_modules().values()):
        for p in parameters:
            p.grad = torch.full_like(p, 10.0**-i)
    before = {n: [p.grad.clone() for p in ps] for n, ps in net.sub_modules().items()}
    norms = clip_gradients(net, 3.0)
    assert list(norms) == ["encoder", "dino_head", "ibot_head"]
    for name, parameters in net.sub_modules().items():
        norm = torch.stack([g.norm() for g in before[name]]).norm()
        assert float(norms[name]) == pytest.approx(float(norm), rel=1e-4)
        after = torch.stack([p.grad.norm() for p in parameters]).norm()
        assert float(after) == pytest.approx(min(3.0, float(norm)), rel=1e-4)
    covered = sorted(id(p) for ps in net.sub_modules().values() for p in ps)
    assert covered == sorted(id(p) for p in net.parameters())
