"""The task `cls`: recipes, refusals, and whole runs on tiny images."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.cells import RunRequest
from omnibench.errors import IntegrityError, PluginError, UsageError
from omnibench.interfaces import RunContext, Task
from omnibench.planning import plan
from omnibench.recipe import as_document, override
from omnibench.registry import Registry
from omnibench.training import Optimisation
from omnibench_plugins.tasks import omnibench_tasks
from omnibench_plugins.tasks.cls import inputs as inputs_module
from omnibench_plugins.tasks.cls import samples as samples_module
from omnibench_plugins.tasks.cls.recipe import PAPER, named_recipe
from omnibench_plugins.tasks.cls.run import _optimisation as optimisation
from omnibench_plugins.tasks.cls.task import Classification

TASK = Classification()
LABELS = DatasetSpec(name="d", kind="labels", open=lambda access: None)
VIT = EncoderSpec(name="e", build=lambda: None, patch_size=14, lora_targets="all-linear")


def small(tuning="full", **changes):
    """The paper's recipe at 32 px, short and with rates that move a tiny transformer."""
    defaults = {
        "image_size": 32,
        "epochs": 8,
        "batch_size": 8,
        "warmup_epochs": 0,
        "lr": 3e-3,
        "head_dropout": 0.1,
        "augmentation": "none",
    }
    return dataclasses.replace(named_recipe("paper", tuning), **(defaults | changes))


def run(handle, dataset, recipe, seed=0):
    (outcome,) = TASK.run(handle, dataset, recipe, RunContext(seed=seed))
    return outcome


def accuracy(outcome):
    return {m.id: m.value for m in TASK.score(outcome.predictions)}["accuracy"]


# ---- cards and recipes --------------------------------------------------------------


def test_every_task_of_the_hook_keeps_the_contract():
    tasks = {task.name: task for task in omnibench_tasks()}
    assert {"cls", "knn", "linear"} <= set(tasks)
    for task in tasks.values():
        assert isinstance(task, Task)
        recipe = task.recipe(task.recipes[0])
        assert recipe.normalization and recipe.pool and recipe.seeds >= 1


def test_the_paper_recipe_has_the_papers_numbers():
    assert (PAPER.epochs, PAPER.batch_size, PAPER.lr, PAPER.weight_decay) == (40, 128, 1e-5, 0.01)
    assert (PAPER.image_size, PAPER.warmup_epochs, PAPER.clip_norm) == (224, 10, 1.0)
    assert (PAPER.normalization, PAPER.pool, PAPER.seeds) == ("imagenet", "checkpoint", 5)
    rates = [optimisation(PAPER).lr_at(e) for e in (0, 5, 10, 25, 39)]
    # warm-up lr (0.01 + 0.99 e / 10), then lr (1 + cos(pi (e - 10) / 30)) / 2; last 2.74e-8
    assert rates == pytest.approx([1e-7, 5.05e-6, 1e-5, 5e-6, 2.74e-8], rel=1e-3)


def test_recipes_differ_where_they_say():
    released, fair, quick = (named_recipe(n) for n in ("released", "fair", "quick"))
    assert optimisation(released).clip_at(9) == 0.5 and optimisation(released).clip_at(10) == 1.0
    assert released.class_weights == "sqrt_inverse_frequency" and not released.amp_scaler
    assert released.lora_head == "adapter_only" and released.lr == 1e-5
    assert (fair.normalization, fair.pool) == ("own", "cls")
    assert (quick.image_size, quick.epochs, quick.seeds) == (112, 3, 3)
    assert quick.max_images == (60, 20, 40)


def test_head_only_has_a_rate_that_can_learn():
    assert named_recipe("paper", "head").lr == 1e-3
    assert named_recipe("paper", "lora-r8").lr == 1e-5


@pytest.mark.parametrize(
    ("task", "dataset", "changes", "message"),
    [
        ("cls", "breastmnist", {"recipe": "papr"}, "no recipe 'papr'. Did you mean paper"),
        ("cls", "breastmnist", {"tuning": "lora-r9"}, "no tuning 'lora-r9'; it has full, head"),
        ("seg", "busi", {"recipe": "papr"}, "no recipe 'papr'. Did you mean paper"),
        ("seg", "busi", {"tuning": "full"}, "no tuning 'full'; it has none"),
        ("knn", "breastmnist", {"recipe": "paper"}, "no recipe 'paper'. It has: fair, quick"),
        ("linear", "breastmnist", {"tuning": "full"}, "no tuning 'full'; it has none"),
    ],
)
def test_unknown_names_are_answered_for_every_task(tmp_path, task, dataset, changes, message):
    folders = {name: tmp_path / name for name in ("data_root", "cache", "results")}
    request = RunRequest(
        encoders=["vit-small"], task=task, datasets=[dataset], random_weights=True, **folders
    )
    with pytest.raises(UsageError, match=message):
        plan(dataclasses.replace(request, **changes), Registry.discover())


def test_the_released_code_has_no_head_only():
    with pytest.raises(UsageError, match="no head-only tuning to reproduce"):
        TASK.recipe("released", "head")


def test_settings_are_checked():
    assert override(PAPER, {"warmup_clip_norm": "0.5"}).warmup_clip_norm == 0.5
    assert override(PAPER, {"max_images": "6,2,4"}).max_images == (6, 2, 4)
    assert optimisation(override(PAPER, {"clip_norm": "none"})).clip_at(0) is None
    for settings in (
        {"clip_norm": "0"},
        {"warmup_clip_norm": "0"},
        {"max_images": "6,1,4"},
        {"epochs": "0"},
        {"head_dropout": "1.0"},
        {"lr": "nan"},
        {"augmentation": "x"},
    ):
        with pytest.raises(UsageError, match=next(iter(settings))):
            override(PAPER, settings)
    assert as_document(PAPER)["lr"] == "1e-05"


@pytest.mark.parametrize(
    ("dataset", "encoder", "settings", "reason"),
    [
        ({"kind": "masks"}, {}, {}, "has masks, this task needs labels"),
        (
            {"kind": "images", "collection": "folder", "notes": "laid out as images"},
            {},
            {},
            r"has images \(laid out as images\), this task needs labels",
        ),
        ({"multi_label": True}, {}, {}, "several labels an image"),
        ({}, {"end_to_end": True, "build_end_to_end": print}, {}, "whole segmentation network"),
        ({}, {}, {"image_size": 225}, "multiple of the patch size 14 .* image_size=224"),
        ({}, {"lora_targets": None}, {"tuning": "lora-r8"}, "names no layers for LoRA"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(dataset, encoder, settings, reason):
    found = TASK.accepts(
        dataclasses.replace(LABELS, **dataset),
        dataclasses.replace(VIT, **encoder),
        dataclasses.replace(PAPER, **settings),
    )
    assert found is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)


def test_what_fits_is_accepted():
    for tuning in TASK.tunings:
        assert TASK.accepts(LABELS, VIT, named_recipe("paper", tuning)) is None


# ---- whole runs ---------------------------------------------------------------------


@pytest.mark.parametrize("tuning", ["full", "lora-r8"])
def test_a_tiny_set_is_learnt(vit_handle, stripes, tuning):
    outcome = run(vit_handle(), stripes, small(tuning))
    assert accuracy(outcome) == 1.0
    assert outcome.details["train_losses"][-1] < 0.5 * outcome.details["train_losses"][0]
    assert outcome.details["constant_prediction"] is False


def test_predictions_carry_ids_groups_labels_and_scores_that_sum_to_one(vit_handle, stripes):
    outcome = run(vit_handle(), stripes, small("head", epochs=2))
    found = outcome.predictions
    assert found["test_id"].tolist() == list(range(36, 48))
    assert found["test_group"].tolist() == stripes.split("test").groups.tolist()
    assert found["val_label"].tolist() == stripes.split("val").targets.tolist()
    assert found["test_score"].shape == (12, 2)
    assert found["test_score"].sum(axis=1) == pytest.approx(1)
    assert not any(array.dtype.hasobject for array in found.values())
    assert json.dumps(outcome.details, allow_nan=False)


def test_groups_are_left_out_where_unknown(vit_handle, stripes):
    nameless = {n: dataclasses.replace(s, groups=None) for n, s in stripes.splits.items()}
    outcome = run(
        vit_handle(), dataclasses.replace(stripes, splits=nameless), small("head", epochs=1)
    )
    assert "test_group" not in outcome.predictions


@pytest.mark.parametrize("tuning", ["full", "lora-r8"])
def test_a_seed_decides_every_score(vit_handle, stripes, tuning):
    recipe = small(tuning, epochs=2, augmentation="affine")
    one, two, other = (run(vit_handle(), stripes, recipe, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.predictions["test_score"], two.predictions["test_score"])
    assert not np.array_equal(one.predictions["test_score"], other.predictions["test_score"])


def test_head_only_leaves_the_encoder_bit_identical(vit_handle, stripes):
    changed = {}
    for tuning in ("head", "full"):
        handle = vit_handle()
        used = handle.build(normalization="imagenet", pool="checkpoint")
        before = {n: p.clone() for n, p in used.state_dict().items()}
        handle.build = lambda used=used, **_: used
        outcome = run(handle, stripes, small(tuning, augmentation="affine", epochs=2))
        changed[tuning] = [n for n, p in used.state_dict().items() if not torch.equal(p, before[n])]
        if tuning == "head":
            assert set(outcome.weights) == {"head.linear.weight", "head.linear.bias"}
    assert not changed["head"]
    assert changed["full"]  # the comparison sees a change where there is one


@pytest.mark.parametrize(
    # splits of 24, 12 and 12 images in chunks of 16; training batches as they are
    ("augmentation", "expected"),
    [("none", 32 + 16 + 16), ("affine", 5 * 24 + 16 + 16)],
)
def test_head_only_encodes_what_never_changes_once(vit_handle, stripes, augmentation, expected):
    seen = []

    def count(vit):
        original = vit.forward_features
        vit.forward_features = lambda x: seen.append(len(x)) or original(x)

    run(vit_handle(change=count), stripes, small("head", epochs=5, augmentation=augmentation))
    assert sum(seen) == expected + 1  # and one image to count operations


def test_features_encoded_once_train_the_same_head_as_images_do(vit_handle, stripes):
    recipe = small("head", epochs=3, head_dropout=0.0)
    once = run(vit_handle(), stripes, recipe)
    with pytest.MonkeyPatch.context() as patch:
        # "augmented" training images are encoded in every epoch; these stay as they are
        patch.setattr(inputs_module.augment, "affine", lambda images, drawn: images.float() / 255)
        anew = run(vit_handle(), stripes, dataclasses.replace(recipe, augmentation="affine"))
    assert once.predictions["test_score"] == pytest.approx(anew.predictions["test_score"], abs=1e-6)


def test_the_released_augmentation_runs_end_to_end(vit_handle, stripes):
    recipe = dataclasses.replace(
        named_recipe("released", "lora-r16"), image_size=32, epochs=1, batch_size=8
    )
    outcome = run(vit_handle(), stripes, recipe)
    assert outcome.details["adapters"] == 9
    assert all("lora_" in name for name in outcome.weights)


def test_equal_epochs_are_resolved_as_the_recipe_says(vit_handle, stripes):
    still = {"lr": 1e-12, "epochs": 3, "tuning": "head"}
    assert run(vit_handle(), stripes, small(**still)).details["best_epoch"] == 2
    assert run(vit_handle(), stripes, small(**still, ties="first")).details["best_epoch"] == 0


def test_costs_are_counted(vit_handle, stripes):
    outcome = run(vit_handle(), stripes, small("head", epochs=1))
    assert outcome.params_trainable == 2 * 32 + 2
    assert outcome.images_per_second > 0
    # 17 tokens, width 32, 2 blocks: linear layers 12 D^2, attention 2 N D; patches 3*8*8 D.
    tokens, width = 17, 32
    linear = 2 * 2 * tokens * 12 * width**2
    attention = 2 * 2 * 2 * tokens**2 * width
    patches, head = 2 * 16 * 3 * 64 * width, 2 * width * 2
    assert outcome.flops_per_image == linear + attention + patches + head


@pytest.mark.parametrize("tuning", ["full", "head"])
def test_pooling_a_token_that_is_not_there_is_refused_before_images_are_read(
    tokenless_handle, unread, tuning
):
    with pytest.raises(UsageError, match="no class token; use --set pool=avg"):
        run(tokenless_handle, unread, small(tuning, pool="cls"))


def test_adapters_that_nothing_reaches_are_refused_before_images_are_read(vit_handle, unread):
    handle = vit_handle(lora=r"blocks\.\d+\.nothing")
    with pytest.raises(PluginError, match="match no layer"):
        run(handle, unread, small("lora-r8"))

    def idle(vit):
        vit.blocks[1].mlp.forward = lambda x: x * 0

    with pytest.raises(PluginError, match=r"2 of 8 LoRA adapters get no gradient .*1\.mlp\.fc1"):
        run(vit_handle(change=idle), unread, small("lora-r8"))


def test_a_label_out_of_range_is_refused_before_training(vit_handle, stripes):
    split = stripes.split("val")
    bad = dataclasses.replace(split, targets=split.targets + 5)
    dataset = dataclasses.replace(stripes, splits={**stripes.splits, "val": bad})
    with pytest.raises(IntegrityError, match=r"split 'val' .* labels from 5 to 6, but 2 classes"):
        run(vit_handle(), dataset, small("head"))


def test_scores_keep_apart_what_float32_would_make_equal():
    logits = torch.tensor([[0.0, 18.0], [0.0, 19.0]])
    scores = samples_module.softmax(logits)
    assert scores[0, 1] < scores[1, 1] < 1


def test_the_confusion_matrix_is_a_png_also_for_odd_names(vit_handle, stripes):
    outcome = run(vit_handle(), stripes, small("head", epochs=1))
    odd = dataclasses.replace(stripes, classes=("cost $5^{", "a" * 80))
    png = TASK.draw(odd, outcome.predictions, "e · cls · $x$ · seed 0")
    assert png is not None and png.startswith(b"\x89PNG")


def test_the_optimisation_takes_every_field_of_the_recipe():
    found = optimisation(named_recipe("released"))
    for field in dataclasses.fields(Optimisation):
        assert getattr(found, field.name) == getattr(named_recipe("released"), field.name)
