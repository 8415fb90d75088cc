"""The card of `seg`: its recipes, their fields, and what it refuses with a way out."""

import dataclasses
from typing import Any

import pytest
from tiny_segmentation import TASK, handle, outcome

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.errors import SetupError, UsageError
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import Task
from omnibench.recipe import as_document, override
from omnibench_plugins.tasks.seg.recipe import FAIR, PAPER, QUICK, RECIPES


def spec(**changes: Any) -> DatasetSpec:
    return DatasetSpec(**{"name": "d", "kind": "masks", "open": lambda access: None, **changes})


def encoder_spec(patch_size: int = 14, **changes: Any) -> EncoderSpec:
    made = {"name": "e", "build": lambda **_: None, "patch_size": patch_size}
    return EncoderSpec(**{**made, **changes})


def test_the_task_is_a_task_and_its_recipes_are_hashable_documents():
    assert isinstance(TASK, Task)
    assert TASK.recipes == ("paper", "released", "fair", "quick", "medsegbench")
    documents = [as_document(TASK.recipe(name)) for name in TASK.recipes]
    assert len({str(d) for d in documents}) == 5
    assert TASK.stochastic(PAPER) and TASK.variants(PAPER) == ("",) and TASK.tunings == ()
    assert [TASK.precision(asked, PAPER) for asked in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_fields_are_checked():
    assert override(PAPER, {"ffn_dim": "none", "label_map": "per_split"}).ffn_dim is None
    with pytest.raises(UsageError, match="image_size is 32; use --set image_size=N with N >= 64"):
        override(PAPER, {"image_size": "32"})
    for settings, message in (
        ({"ffn_dim": "0"}, "ffn_dim is 0"),
        ({"max_images": "60,1,40"}, "at least 2 images each"),
        ({"loss_resolution": "half"}, "one of full, eighth"),
        ({"pool": "cls"}, "pool is one of checkpoint"),
    ):
        with pytest.raises(UsageError, match=message):
            override(PAPER, settings)


@pytest.mark.parametrize(
    ("dataset", "encoder", "recipe", "reason"),
    [
        (spec(), encoder_spec(), PAPER, None),
        (spec(), encoder_spec(16), QUICK, None),
        (spec(), encoder_spec(1), FAIR, None),
        (spec(kind="labels"), encoder_spec(), PAPER, "'d' has labels, this task needs masks"),
        (
            spec(),
            encoder_spec(),
            dataclasses.replace(PAPER, image_size=450),
            "not a multiple of 14.* use --set image_size=448",
        ),
        (spec(), encoder_spec(), RECIPES["medsegbench"], "this recipe trains whole networks"),
        (
            spec(),
            encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
            PAPER,
            "'e' is trained from end to end; use --recipe medsegbench",
        ),
        (
            spec(),
            encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
            RECIPES["medsegbench"],
            None,
        ),
        *(
            (
                spec(),
                encoder_spec(end_to_end=True, build_end_to_end=lambda classes: None),
                dataclasses.replace(RECIPES["medsegbench"], **{name: value}),
                f"{name}={value} has no effect on the whole network 'e'; use --recipe medsegbench",
            )
            for name, value in (
                ("normalization", "imagenet"),
                ("loss_resolution", "eighth"),
                ("extractor", "released"),
                ("train_prior_and_fusion", True),
                ("ffn_dim", None),
            )
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_way_out(dataset, encoder, recipe, reason):
    found = TASK.accepts(dataset, encoder, recipe)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(found)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPES["released"], "the released extractor takes transformers"),
        (dataclasses.replace(PAPER, image_size=65), "not a multiple of the patch size"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused_before_images_are_read(unread, recipe, message):
    name = "test_resnet" if recipe.extractor == "released" else "test_vit"
    with pytest.raises(UsageError, match=message):
        outcome(unread, recipe, encoder=handle(name))


def test_a_network_that_cannot_be_made_is_refused_before_images_are_read(unread):
    def make(classes: int) -> Any:
        raise SetupError("U-Nets need another package")

    card = EncoderSpec(name="net", end_to_end=True, build_end_to_end=make)
    whole = EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="net")
    with pytest.raises(SetupError, match="need another package"):
        outcome(unread, RECIPES["medsegbench"], encoder=whole)
