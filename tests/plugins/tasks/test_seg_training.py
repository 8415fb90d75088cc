"""Training of `seg`: what is learnt, what starts from the seed, and that a frozen encoder stays."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny_segmentation import SOURCE, TASK, TINY, blobs, handle, outcome

from omnibench.cards import EncoderSpec
from omnibench.errors import PluginError
from omnibench.features.frozen import fingerprint
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.seeding import seed_initialisation
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.model import SegmentationModel
from omnibench_plugins.tasks.seg.recipe import FAIR, RECIPES


@pytest.mark.parametrize("recipe", [TINY, dataclasses.replace(FAIR, image_size=64)])
def test_four_samples_are_learnt(recipe):
    recipe = dataclasses.replace(recipe, epochs=50, batch_size=4, lr=1e-3)
    data = blobs(3, counts=(4, 4, 4))
    same = dataclasses.replace(
        data, splits=dict.fromkeys(("train", "val", "test"), data.split("train"))
    )
    found = outcome(same, recipe)
    score = {m.id: m.value for m in TASK.score(found.predictions)}
    assert score["miou_dataset@64"] > 0.8, score["miou_dataset@64"]
    assert found.details["train_losses"][-1] < 0.15 * found.details["train_losses"][0]


def test_whole_networks_are_trained_from_scratch():
    class Net(torch.nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, classes, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    card = EncoderSpec(name="net", end_to_end=True, build_end_to_end=Net)
    whole = EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="net")
    recipe = dataclasses.replace(
        RECIPES["medsegbench"], image_size=64, epochs=60, batch_size=2, lr=0.03
    )
    binary = outcome(blobs(), recipe, encoder=whole)
    score = {m.id: m.value for m in TASK.score(binary.predictions)}
    assert score["iou_fg_image@native"] > 0.9
    assert binary.params_total == binary.params_trainable == (27 * 8 + 8) + (8 + 1)
    several = outcome(blobs(3), dataclasses.replace(recipe, epochs=2), encoder=whole)
    assert several.params_total == (27 * 8 + 8) + 3 * (8 + 1)


def test_seeds_decide_the_random_prior_that_stays():
    stored = []
    for seed in (0, 0, 1):
        seed_initialisation(seed)
        stored.append(fingerprint(SegmentationModel(SOURCE, 2, TINY).prior))
    assert stored[0] == stored[1] != stored[2]


def test_a_frozen_encoder_is_bit_identical_after_training():
    made = []

    def remember(encoder: Any) -> Any:
        made.append(encoder)
        return encoder

    before_after = handle(change=remember)
    fresh = before_after.build(normalization="imagenet", pool="checkpoint")
    before = fingerprint(fresh)
    outcome(blobs(), dataclasses.replace(TINY, epochs=1), encoder=before_after)
    assert fingerprint(made[0].configure(normalization="imagenet", pool="checkpoint")) == before
    with torch.no_grad():
        next(fresh.parameters()).view(-1)[0] += 1e-7
    assert fingerprint(fresh) != before


def test_an_encoder_that_writes_to_itself_is_reported():
    class Counting(type(build("test_vit", random_init=True))):  # type: ignore[misc]
        def _intermediates(self, x: Any, layers: Any, norm: Any) -> Any:
            self.seen += len(x)
            return super()._intermediates(x, layers, norm)

    def change(encoder: Any) -> Any:
        encoder.register_buffer("seen", torch.zeros(()))
        encoder.__class__ = Counting
        return encoder

    with pytest.raises(PluginError, match="'tiny' is frozen, yet"):
        outcome(blobs(), dataclasses.replace(TINY, epochs=1), encoder=handle(change=change))
