"""What tasks tell `omnibench bench` they are made of: parts that can be called again and again."""

from __future__ import annotations

from typing import Any

import pytest

from omnibench.errors import UsageError
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import RunContext
from omnibench.recipe import override
from omnibench.registry import Registry

SCRATCH = {"language_model": "scratch", "text_max_length": "8", "decodings": "beam1-4,beam2-4"}
TINY = {"image_size": "32"}
CASES = [
    ("cls", "paper", "full", TINY, ["training", "evaluation"]),
    ("cls", "paper", "head", TINY, ["once", "training"]),
    ("cls", "paper", "lora-r8", TINY, ["training", "evaluation"]),
    ("seg", "paper", None, {"image_size": "64"}, None),
    ("knn", "fair", None, TINY, ["once"]),
    ("linear", "fair", None, TINY, ["once"]),
    (
        "caption",
        "quick",
        None,
        {**TINY, **SCRATCH},
        ["once", "training", "evaluation", "prediction", "prediction"],
    ),
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def handle_of(registry: Registry, name: str) -> EncoderHandle:
    card = registry.encoder(name).card
    return EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label=name)


def parts_of(registry: Registry, encoder: str, task: str, recipe: Any) -> list[Any]:
    card = registry.task(task).card
    context = RunContext(seed=0)
    return list(card.parts(handle_of(registry, encoder), recipe, context))


@pytest.mark.parametrize(("task", "name", "tuning", "changes", "stages"), CASES)
def test_every_part_of_every_task_can_be_called_twice(
    registry, task, name, tuning, changes, stages
):
    recipe = override(registry.task(task).card.recipe(name, tuning), changes)
    parts = parts_of(registry, "timm:test_vit", task, recipe)
    for part in parts:
        part.call()
        part.call()
        assert part.images > 0
    if stages is None:
        counted = [part.stage for part in parts if part.stage != "detail"]
        assert counted == ["once", "training", "evaluation"] and len(parts) > 3
    else:
        assert [part.stage for part in parts] == stages


def test_a_whole_network_is_measured_by_its_steps(registry):
    pytest.importorskip("segmentation_models_pytorch")
    recipe = override(registry.task("seg").card.recipe("medsegbench"), {"image_size": "64"})
    parts = parts_of(registry, "unet-mobilenet-v2", "seg", recipe)
    assert [part.stage for part in parts] == ["training", "evaluation"]
    for part in parts:
        part.call()


def test_a_language_model_of_unknown_shape_is_refused(registry):
    recipe = override(registry.task("caption").card.recipe("quick"), {"language_model": "a/b"})
    with pytest.raises(UsageError, match="shape of language model a/b is not known"):
        parts_of(registry, "timm:test_vit", "caption", override(recipe, TINY))


def test_published_shapes_are_those_of_their_parameter_counts():
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    from omnibench_plugins.tasks.caption.parts import SHAPES

    for name, counted in (
        ("facebook/bart-base", 139_420_416),
        ("facebook/bart-large", 406_291_456),
    ):
        with torch.device("meta"):
            model = BartForConditionalGeneration(BartConfig(**SHAPES[name]))
        assert sum(p.numel() for p in model.parameters()) == counted
