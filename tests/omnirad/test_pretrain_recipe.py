"""Table 1, what the paper leaves unsaid, and the rates of every step."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from omnirad.errors import UsageError
from omnirad.losses import upstream_global_scale
from omnirad.presets import PRESETS, preset
from omnirad.recipe import PretrainRecipe
from omnirad.schedules import Schedules

# Printed in pretraining section 5: images, size -> steps an epoch, steps, peak lr (2 ranks)
PRINTED = [
    (1_350_000, "small", 2636, 26_360, 1.41421e-4),
    (1_350_000, "base", 3443, 34_430, 1.23744e-4),
    (1_080_000, "small", 2109, 21_090, 1.41421e-4),
    (1_080_000, "base", 2755, 27_550, 1.23744e-4),
]


def schedules(name: str = "paper", size: str = "small", images: int = 1_350_000) -> Schedules:
    recipe = preset(name, size)
    return Schedules(recipe, recipe.steps_per_epoch(images, 2), 2)


def test_the_paper_preset_is_table_1():
    small, base = preset("paper"), preset("paper", "base")
    assert (small.batch_size, base.batch_size) == (256, 196)
    assert replace(base, size="small", batch_size=256) == small
    table = {
        "drop_path": 0.3,
        "layer_scale": 1e-5,
        "epochs": 10,
        "base_lr": 2e-4,
        "min_lr": 1e-6,
        "weight_decay": 0.04,
        "weight_decay_end": 0.2,
        "momentum": 0.994,
        "momentum_end": 1.0,
        "teacher_temp_start": 0.04,
        "teacher_temp": 0.07,
        "dino_weight": 1.0,
        "ibot_weight": 1.0,
        "prototypes": 131072,
        "head_bottleneck": 256,
        "head_layers": 3,
        "head_hidden": 2048,
        "crop_size": 224,
    }
    assert {name: getattr(small, name) for name in table} == table


def test_options_that_the_paper_does_not_have_are_off_in_its_preset():
    paper = preset("paper")
    off = (paper.koleo_weight, paper.gram_weight, paper.high_res_share, paper.freeze_encoder_steps)
    assert off == (0, 0, 0, 0) and not paper.mask_exact


def test_the_hub_preset_differs_in_drop_path_only():
    paper, literal = preset("paper"), preset("paper-literal-hub")
    assert [
        f.name for f in fields(paper) if getattr(paper, f.name) != getattr(literal, f.name)
    ] == ["drop_path"]


@pytest.mark.parametrize(("images", "size", "epoch", "total", "peak"), PRINTED)
def test_steps_and_peak_rates_are_the_printed_ones(images, size, epoch, total, peak):
    found = schedules(size=size, images=images)
    assert (found.epoch_steps, found.total) == (epoch, total)
    assert found.recipe.peak_lr(2) == pytest.approx(peak, rel=1e-5)


def test_rates_of_the_small_model_are_the_printed_ones():
    found = schedules()
    warmup = 263  # ⌊0.1 · 2636⌋, whose last step is at the peak
    assert found.lr(0) == 0
    assert found.lr(warmup - 1) == found.lr(warmup) == pytest.approx(1.41421e-4, rel=1e-5)
    assert found.lr(found.total // 2) == pytest.approx(7.2322e-5, rel=1e-4)
    assert found.lr(found.total - 1) == pytest.approx(1.0e-6, rel=1e-4)
    assert found.weight_decay(0) == pytest.approx(0.04)
    assert found.weight_decay(found.total // 2) == pytest.approx(0.12)
    assert found.momentum(0) == pytest.approx(0.994)
    assert found.momentum(found.total // 2) == pytest.approx(0.997)
    assert math.log(0.5) / math.log(found.momentum(0)) == pytest.approx(115, abs=0.5)
    # a cosine over i / n: the last step is not quite at the end
    assert 0.2 - 1e-6 < found.weight_decay(found.total - 1) < 0.2


def test_a_warm_up_of_30_epochs_in_a_run_of_10_ends_at_a_temperature_of_one_twentieth():
    found = schedules()
    assert found.teacher_temp(0) == 0.04
    assert found.teacher_temp(found.total - 1) == pytest.approx(0.05, abs=1e-6)
    short = replace(found, recipe=replace(found.recipe, teacher_temp_warmup_epochs=3.0))
    assert short.teacher_temp(3 * 2636 - 1) == short.teacher_temp(short.total - 1) == 0.07


def test_a_warm_up_as_long_as_the_run_is_refused_and_explained():
    for epochs in (10.0, 20.0):
        with pytest.raises(UsageError, match="would only ever rise"):
            replace(preset("paper"), warmup_epochs=epochs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_size": 225}, "not a multiple of the patch size 14; use 224"),
        ({"size": "huge"}, "there is no size 'huge'"),
        ({"prototypes": 0}, "prototypes is 0; it must be positive"),
        ({"koleo_weight": -1.0}, "koleo_weight is -1.0; it must be 0 or more"),
        ({"momentum": 1.5}, r"momentum is 1.5; it must lie in \[0, 1\]"),
        ({"drop_path": 1.0}, r"drop_path is 1.0; it must lie in \[0, 1\)"),
        ({"mask_ratio": (0.5, 0.1)}, r"mask_ratio is \(0.5, 0.1\)"),
        ({"freeze_last_layer_epochs": 10.0}, "prototypes would never learn"),
        ({"min_lr": 1.0}, "min_lr 1.0 exceeds base_lr"),
        ({"high_res_share": 0.1, "high_res_batch_divisor": 999}, "leaves no image"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        PretrainRecipe(**change)


def test_too_few_images_for_a_batch_are_an_error():
    with pytest.raises(UsageError, match=r"511 images do not fill one batch of 256 on 2 rank"):
        preset("paper").steps_per_epoch(511, 2)


def test_contradictions_of_the_paper_are_said():
    said = "\n".join(preset("paper").notices())
    assert "layer_scale 1e-05 has no effect" in said
    assert "drop_path 0.3 is applied" in said
    assert "ends at 0.050 and never reaches 0.07" in said
    assert "DINO : iBOT is 0.5 : 1" in said
    assert preset("nano").notices() == []


def test_presets_know_their_sizes():
    assert preset("nano").size == "nano"
    with pytest.raises(UsageError, match="use one of paper, paper-literal-hub, scratch, nano"):
        preset("papre")
    for name, size in (("paper", "nano"), ("nano", "base"), ("scratch", "huge")):
        with pytest.raises(UsageError, match="not meant for size"):
            preset(name, size)


def test_alpha_is_what_the_ancestors_compute():
    """Test 5: 8 local crops, one as a flag for none, none; and none counted as it should be."""
    assert [upstream_global_scale(n) for n in (8, 1, 0)] == [1 / 9, 1 / 2, 2 / 3]
    assert preset("paper").dino_global_scale == upstream_global_scale(1)
    assert preset("nano").dino_global_scale == 1


def test_high_resolution_takes_the_last_share_of_the_steps():
    recipe = replace(preset("paper"), high_res_share=0.1)
    found = Schedules(recipe, 100, 2)
    low, high = found.stages()
    assert (low.first, low.end, low.crop_size, low.batch_size) == (0, 900, 224, 256)
    assert (high.first, high.end, high.crop_size, high.batch_size) == (900, 1000, 448, 64)
    plain = Schedules(preset("paper"), 100, 2)
    assert found.lr(899) == plain.lr(899)
    assert found.lr(900) == pytest.approx(0.1 * plain.lr(900))
    assert [stage.end for stage in plain.stages()] == [1000]


def test_freezing_and_anchors_follow_the_step():
    recipe = replace(
        preset("paper"),
        freeze_last_layer_epochs=0.5,
        freeze_encoder_steps=7,
        gram_weight=1.0,
        gram_start_step=20,
        gram_refresh_steps=10,
        gram_refreshes=2,
    )
    found = Schedules(recipe, 100)
    assert [s for s in range(1000) if found.last_layer_frozen(s)] == list(range(50))
    assert [s for s in range(1000) if found.encoder_frozen(s)] == list(range(7))
    assert [s for s in range(1000) if found.gram_refresh(s)] == [20, 30, 40]
    assert not any(Schedules(PRESETS["paper"], 100).gram_refresh(s) for s in range(1000))
