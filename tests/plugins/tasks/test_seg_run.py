"""Runs of `seg` from names to predictions: what they store, and what their numbers depend on."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny_segmentation import SOURCE, TASK, TINY, blobs, handle, outcome

from omnibench.errors import IntegrityError
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures
from omnibench.forward import parameter_counts
from omnibench.interfaces import RunContext
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.evaluate import pixel_counts
from omnibench_plugins.tasks.seg.model import SegmentationModel


@pytest.fixture(scope="module")
def trained() -> Any:
    """One finished run on binary discs."""
    return outcome(blobs())


def test_a_run_stores_counts_on_both_grids_and_a_gallery(trained):
    arrays = trained.predictions
    assert {n: (a.shape, a.dtype.name) for n, a in arrays.items()} == {
        "val_id": ((4,), "int64"),
        "val_group": ((4,), "int64"),
        "val_counts@64": ((4, 2, 4), "int64"),
        "val_counts@native": ((4, 2, 4), "int64"),
        "test_id": ((7,), "int64"),
        "test_group": ((7,), "int64"),
        "test_counts@64": ((7, 2, 4), "int64"),
        "test_counts@native": ((7, 2, 4), "int64"),
        "gallery_id": ((6,), "int64"),
        "gallery_mask@64": ((6, 64, 64), "uint8"),
    }
    assert set(arrays["gallery_id"]) <= set(arrays["test_id"])


def test_scores_come_from_stored_counts_and_include_the_headline(trained):
    for split in ("val", "test"):
        ids = [m.id for m in TASK.score(trained.predictions, split)]
        assert TASK.headline(TINY) == "miou_dataset@64" in ids
        assert "iou_fg_image@native" in ids
        assert len(ids) == len(set(ids))
    with pytest.raises(IntegrityError, match="no test_counts@"):
        TASK.score({"test_id": np.arange(3)})


def test_the_gallery_is_what_was_counted(trained):
    arrays, split = trained.predictions, blobs().split("test")
    for identity, predicted in zip(arrays["gallery_id"], arrays["gallery_mask@64"], strict=True):
        row = int(np.searchsorted(arrays["test_id"], identity))
        counts = pixel_counts(
            torch.from_numpy(predicted)[None], torch.from_numpy(split.target(row))[None], 2
        )
        assert np.array_equal(counts[0], arrays["test_counts@64"][row])


def test_kept_weights_are_all_but_the_encoder(trained):
    names = set(trained.weights)
    assert {n.partition(".")[0] for n in names} == {"prior", "fusion", "hybrid", "decoder"}
    assert "prior.stem.0.0.weight" in names
    assert "fusion.norms.0.running_mean" in names


def test_costs_and_course_are_told(trained):
    encoder, modules = build("test_vit", random_init=True), SegmentationModel(SOURCE, 2, TINY)
    totals = parameter_counts(encoder).total + parameter_counts(modules).total
    assert trained.params_total == totals
    assert trained.params_trainable == 14_268_554
    assert trained.flops_per_image > 2 * 384 * 384 * 8 * 8
    assert trained.images_per_second > 0
    assert len(trained.details["train_losses"]) == len(trained.details["val_miou_paper"]) == 2
    best = int(np.argmax(trained.details["val_miou_paper"]))
    assert trained.details["best_epoch"] == best
    stored = {m.id: m.value for m in TASK.score(trained.predictions, "val")}
    assert stored["miou_paper@64"] == trained.details["val_miou_paper"][best]


def test_flops_count_the_attention_of_the_encoder(trained):
    class Blind(torch.nn.Module):
        def forward(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
            return torch.zeros_like(x)

    def without_attention(made: Any) -> Any:
        for block in made.backbone.blocks:
            block.attn = Blind()
        return made

    blind = outcome(
        blobs(), dataclasses.replace(TINY, epochs=1), encoder=handle(change=without_attention)
    )
    tokens, width, blocks = 16 + 1, 64, 6
    projections = 2 * tokens * 4 * width**2
    products = 2 * 2 * tokens**2 * width
    assert trained.flops_per_image - blind.flops_per_image == blocks * (projections + products)


def test_the_same_seed_gives_the_same_counts_and_another_does_not(trained):
    again, other = outcome(blobs()), outcome(blobs(), seed=1)
    for name, array in trained.predictions.items():
        assert np.array_equal(array, again.predictions[name]), name
    key = "val_counts@64"
    assert not np.array_equal(trained.predictions[key], other.predictions[key])


@pytest.mark.parametrize("kept", ["computed anew", "on disk, cold", "on disk, warm"])
def test_counts_do_not_depend_on_what_is_kept(trained, monkeypatch, tmp_path, kept):
    encoder = handle()
    if kept == "computed anew":
        monkeypatch.setattr(FrozenFeatures, "hold_bytes", 0)
    else:
        encoder.store = FeatureStore(tmp_path, 10**9)
    if kept == "on disk, warm":
        outcome(blobs(), encoder=encoder)
        encoder = handle(change=lambda made: pytest.fail("a warm store builds no encoder"))
        encoder.store = FeatureStore(tmp_path, 10**9)
    again = outcome(blobs(), encoder=encoder)
    for name, array in trained.predictions.items():
        assert np.array_equal(array, again.predictions[name]), name
    assert again.details == trained.details
    assert again.params_total == trained.params_total
    assert again.flops_per_image == trained.flops_per_image


def test_mixed_precision_reaches_training_and_evaluation(trained):
    recipe = dataclasses.replace(TINY, epochs=1)
    context = RunContext(seed=0, precision="bf16")
    [found] = TASK.run(handle(), blobs(), recipe, context)
    plain = outcome(blobs(), recipe)
    assert found.details["train_losses"] != plain.details["train_losses"]
    assert found.details["train_losses"] == pytest.approx(plain.details["train_losses"], rel=0.1)
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()


def test_a_coarse_loss_trains_and_metrics_stay_on_the_full_grid(trained):
    found = outcome(blobs(), dataclasses.replace(TINY, loss_resolution="eighth"))
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()
    assert found.details["train_losses"] != trained.details["train_losses"]
    assert found.details["train_losses"][-1] < found.details["train_losses"][0]
    assert found.params_trainable == trained.params_trainable


def test_native_and_model_grid_agree_where_they_are_the_same(trained):
    arrays = trained.predictions
    assert np.array_equal(arrays["test_counts@native"], arrays["test_counts@64"])


def test_masks_are_scored_at_their_own_size():
    found = outcome(blobs(3, native=100), dataclasses.replace(TINY, epochs=1))
    counts = found.predictions["test_counts@native"]
    assert (counts.sum(axis=2) == 100 * 100).all()
    assert (found.predictions["test_counts@64"].sum(axis=2) == 64 * 64).all()
    ids = {m.id for m in TASK.score(found.predictions)}
    assert {"iou_macro_image@native", "iou_macro_image@64"} <= ids
