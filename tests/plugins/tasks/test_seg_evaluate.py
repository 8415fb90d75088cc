"""Pixel counts: from logits to the class of every pixel, on the grid of each mask."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_segmentation import TASK, TINY, blobs, handle, outcome

from omnibench.errors import RunFailed
from omnibench.features.cache import FeatureStore
from omnibench.interfaces import RunContext
from omnibench.metrics.segmentation import metrics_from_counts
from omnibench_plugins.tasks.seg.evaluate import evaluate, pixel_counts, top_class
from omnibench_plugins.tasks.seg.inputs import FrozenInputs
from omnibench_plugins.tasks.seg.model import SegmentationModel, Source
from omnibench_plugins.tasks.seg.samples import read_data
from omnibench_plugins.tasks.seg.taps import TAPS

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = Source(64, (64, 64, 64), *IMAGENET)  # under the paper's normalisation


def test_logits_are_interpolated_and_ties_go_to_the_lowest_class():
    class Fixed:
        def logits(self, split: str, index: torch.Tensor) -> torch.Tensor:
            maps = torch.zeros(len(index), 3, 64, 64)
            maps[:, 2, :, 32:] = 1.0
            return maps

        def encoding_seconds(self, split: str) -> float:
            return 0.0

    dataset = blobs(3, native=128)
    samples = read_data(dataset, TINY, RunContext(seed=0).progress).splits["test"]
    found = evaluate(Fixed(), "test", samples, RunContext(seed=0), np.array([1, 4]))
    assert found.shown.shape == (2, 64, 64) and np.unique(found.shown).tolist() == [0, 2]
    assert (found.shown[:, :, 31] == 0).all() and (found.shown[:, :, 32] == 2).all()
    # class 2 wins wherever its interpolated logit is above 0: from the second half of pixel 31 on
    predicted = found.native_counts[:, 2, 0] + found.native_counts[:, 2, 1]
    assert (predicted == 128 * 65).all()


def test_predictions_that_are_not_finite_are_never_counted():
    class Diverged:
        def logits(self, split: str, index: torch.Tensor) -> torch.Tensor:
            return torch.full((len(index), 3, 64, 64), float("nan"))

        def encoding_seconds(self, split: str) -> float:
            return 0.0

    samples = read_data(blobs(3), TINY, RunContext(seed=0).progress).splits["test"]
    with pytest.raises(RunFailed, match="not finite for test images"):
        evaluate(Diverged(), "test", samples, RunContext(seed=0), np.array([0]))


@pytest.mark.parametrize("classes", [2, 5])
def test_pixel_counts_are_those_of_a_loop_over_classes(classes):
    draw = torch.Generator().manual_seed(0)
    p, t = torch.randint(0, classes, (2, 3, 9, 7), generator=draw)
    for image in range(3):
        for c in range(classes):
            a, b = t[image] == c, p[image] == c
            expected = [(a & b).sum(), (~a & b).sum(), (a & ~b).sum(), (~a & ~b).sum()]
            assert pixel_counts(p, t.byte(), classes)[image, c].tolist() == expected


@pytest.mark.parametrize("classes", [2, 3, 11, 16, 17])
def test_the_running_maximum_is_argmax_and_counts_are_those_of_integers(classes):
    draw = torch.Generator().manual_seed(classes)
    # few different values, so that ties abound
    logits = torch.randint(-2, 3, (3, classes, 9, 7), generator=draw).float()
    predicted = top_class(logits)
    assert predicted.dtype == torch.uint8
    assert torch.equal(predicted.long(), logits.argmax(dim=1))
    reference = torch.randint(0, classes, (3, 9, 7), generator=draw).to(torch.uint8)
    assert pixel_counts(predicted, reference, classes).sum() == 3 * classes * 9 * 7
    with pytest.raises(ValueError, match=f"holds class {classes} of {classes}"):
        pixel_counts(predicted, torch.full_like(reference, classes), classes)


def test_features_in_half_precision_move_a_score_by_less_than_a_twentieth_of_a_point(tmp_path):
    """One trained head, evaluated on maps kept in fp32 and in fp16."""
    dataset = blobs(counts=(16, 4, 32))
    found = outcome(dataset, dataclasses.replace(TINY, epochs=6))
    model = SegmentationModel(OWN, 2, TINY).eval()
    model.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in found.weights.items()})
    data = read_data(dataset, TINY, RunContext(seed=0).progress)
    scores = {}
    for storage in ("fp32", "fp16"):
        encoder = handle()
        encoder.storage, encoder.store = storage, FeatureStore(tmp_path, 10**9)
        rows = encoder.features(
            TAPS["timm"],
            normalization="imagenet",
            size=64,
            antialias=False,
            device="cpu",
            precision="fp32",
        ).of(dataset, "test", RunContext(seed=0).progress)
        inputs = FrozenInputs(model, data, {"test": rows}, RunContext(seed=0))
        counts = evaluate(
            inputs, "test", data.splits["test"], RunContext(seed=0), np.array([0])
        ).counts
        scores[storage] = {m.id: m.value for m in metrics_from_counts(counts, "64")}
    assert np.array_equal(counts.shape, found.predictions["test_counts@64"].shape)
    trained = {m.id: m.value for m in TASK.score(found.predictions)}
    assert scores["fp32"]["miou_dataset@64"] == trained["miou_dataset@64"]
    assert scores["fp32"]["miou_dataset@64"] > 0.5
    assert scores["fp16"]["miou_dataset@64"] == pytest.approx(
        scores["fp32"]["miou_dataset@64"], abs=5e-4
    )
