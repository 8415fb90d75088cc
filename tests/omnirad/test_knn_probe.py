"""Nearest neighbours, their scores and the probe beside a run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from omnirad import knn_probe
from omnirad.errors import DataError, UsageError
from omnirad.evaluation import evaluate, size_of_state
from omnirad.knn_probe import Probe, class_tokens
from omnirad.knn_scores import intervals, resampled, scores, vote
from omnirad.loop import pretrain
from omnirad.model import create_model
from omnirad.monitors import cls_std
from omnirad.progress import Silent


def write_archive(path, rng, *, train=60, asked=30, labels=2, size=20):
    """Class c has a bright square at a place of its own, in noise."""
    arrays = {}
    for split, count in (("train", train), ("val", asked), ("test", asked)):
        y = np.arange(count) % labels
        x = rng.integers(0, 120, (count, size, size))
        for image, label in zip(x, y, strict=True):
            image[2 + 6 * label : 6 + 6 * label, 4:10] += 100
        arrays |= {f"{split}_images": x.astype(np.uint8), f"{split}_labels": y[:, None]}
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "squares.npz", np.random.default_rng(0))


def test_votes_are_those_of_the_definition():
    """p(c) ~ Σ over the 20 nearest of class c of exp(cos / 0.07)."""
    generator = torch.Generator().manual_seed(0)
    bank, query = torch.randn(50, 4, generator=generator), torch.randn(1, 4, generator=generator)
    labels = torch.arange(50) % 3
    cosines = [float(torch.cosine_similarity(query[0], row, dim=0)) for row in bank]
    nearest = sorted(range(50), key=lambda i: -cosines[i])[:20]
    expected = np.zeros(3)
    for i in nearest:
        expected[int(labels[i])] += math.exp(cosines[i] / 0.07)
    found = vote(query, bank, labels, 3)
    assert found[0] == pytest.approx(expected / expected.sum(), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_scikit_learns(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=80)
    votes = np.round(rng.dirichlet(np.ones(classes), 80) + 0.3 * np.eye(classes)[labels], 1)
    votes /= votes.sum(axis=1, keepdims=True)  # rounded before, so that there are ties
    found = scores(votes, labels)
    if classes == 2:
        area = roc_auc_score(labels, votes[:, 1])
    else:
        area = roc_auc_score(labels, votes, multi_class="ovr", average="macro")
    assert found["accuracy"] == pytest.approx((votes.argmax(axis=1) == labels).mean())
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, votes.argmax(axis=1))
    )
    assert found["auc"] == pytest.approx(area)


def test_resampled_scores_are_the_scores_of_the_resample():
    rng = np.random.default_rng(1)
    labels, votes = rng.integers(2, size=40), rng.dirichlet(np.ones(2), 40)
    indices = rng.integers(40, size=(5, 40))
    found = resampled(votes, labels, indices)
    for row, chosen in enumerate(indices):
        again = scores(votes[chosen], labels[chosen])
        assert {name: values[row] for name, values in found.items()} == pytest.approx(again)


def test_differences_are_paired():
    rng = np.random.default_rng(2)
    labels = rng.integers(2, size=200)
    first = np.stack([1 - labels, labels], axis=1) * 0.5 + rng.dirichlet(np.ones(2), 200)
    other = first.copy()
    other[:3] = other[:3, ::-1]
    found = intervals({"a": first, "b": other}, labels)
    assert list(found) == ["a", "b", "a - b"]
    value, low, high = found["a - b"]["accuracy"]
    assert value == pytest.approx(found["a"]["accuracy"].value - found["b"]["accuracy"].value)
    assert low <= value <= high
    assert high - low < 0.5 * (found["a"]["accuracy"].high - found["a"]["accuracy"].low)
    assert found == intervals({"a": first, "b": other}, labels)


def test_intervals_have_the_width_of_a_proportion():
    labels = np.arange(400) % 2
    right = np.random.default_rng(3).random(400) < 0.8
    votes = np.eye(2)[np.where(right, labels, 1 - labels)]
    value, low, high = intervals({"a": votes}, labels)["a"]["accuracy"]
    expected = 2 * 1.96 * math.sqrt(value * (1 - value) / 400)
    assert high - low == pytest.approx(expected, rel=0.1)


def test_pixels_tell_the_squares_apart_and_nothing_depends_on_the_call(archive):
    probe = Probe(archive, split="val", img_size=28)
    assert scores(probe.pixels(), probe.labels)["accuracy"] > 0.9
    assert scores(probe.components(), probe.labels)["accuracy"] > 0.9
    again = Probe(archive, split="val", img_size=28)
    for name, votes in probe.yardsticks("nano").items():
        assert np.array_equal(votes, again.yardsticks("nano")[name]), name


def test_random_weights_are_not_the_constant_of_a_small_layer_scale(archive, monkeypatch):
    """Test 16: at 1e-5 every image has the same class token, beside which anything looks good."""
    seen = []

    def watched(encoder, images, device):
        seen.append(class_tokens(encoder, images, device))
        return seen[-1]

    monkeypatch.setattr(knn_probe, "class_tokens", watched)
    probe = Probe(archive, split="val", img_size=28)
    probe.random("nano")
    probe.encoder(create_model("nano", None, img_size=28, layer_scale=1e-5))
    assert cls_std(seen[0]) > 0.05 and cls_std(seen[2]) < 1e-3


def test_labels_are_needed_and_shared_by_splits(tmp_path, archive):
    with np.load(tmp_path / "squares.npz") as arrays:
        held = dict(arrays)
    np.savez(tmp_path / "one.npz", **held | {"train_labels": np.zeros((60, 1), dtype=int)})
    with pytest.raises(DataError, match="one class only; a probe needs two classes"):
        Probe(f"npz:{tmp_path / 'one.npz'}", split="val", img_size=28)
    np.savez(tmp_path / "other.npz", **held | {"val_labels": np.full((30, 1), 7)})
    with pytest.raises(DataError, match=r"val/0 of val has the label '7'"):
        Probe(f"npz:{tmp_path / 'other.npz'}", split="val", img_size=28)
    bare = {name: array for name, array in held.items() if "labels" not in name}
    np.savez(tmp_path / "bare.npz", **bare)
    with pytest.raises(DataError, match="has images without a label"):
        Probe(f"npz:{tmp_path / 'bare.npz'}", split="val", img_size=28)


def test_colour_and_grey_images_mix(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    colour[::2] = colour[::2, ..., :1]
    labels = np.arange(12)[:, None] % 2
    arrays = {
        f"{s}_{k}": v for s in ("train", "val") for k, v in (("images", colour), ("labels", labels))
    }
    np.savez(tmp_path / "colour.npz", **arrays)
    probe = Probe(f"npz:{tmp_path / 'colour.npz'}", split="val", img_size=28)
    assert probe.queries.images.shape == (12, 3, 28, 28)
    assert scores(probe.pixels(), probe.labels)["accuracy"] >= 0.5


def test_a_run_logs_its_probe_after_every_epoch(tiny_job, archive):
    job = tiny_job(probe=archive)
    pretrain(job)
    rows = [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]
    probed = [row for row in rows if "knn_accuracy" in row]
    assert [row["epoch"] for row in probed] == [1.0, 2.0]
    probe = Probe(archive, split="val", img_size=28)
    encoder = create_model("nano", job.out / "encoder", img_size=28)
    assert probed[-1]["knn_auc"] == pytest.approx(
        scores(probe.encoder(encoder), probe.labels)["auc"]
    )
    assert probed[-1]["raw_accuracy"] == scores(probe.pixels(), probe.labels)["accuracy"]
    assert {"random_auc", "pca_balanced_accuracy"} <= probed[0].keys()


def test_a_probe_may_not_ask_about_images_that_are_trained_on(tiny_job, archive):
    with pytest.raises(UsageError, match="asks about val images, which splits=train,val trains on"):
        tiny_job(probe=archive, data=(archive,), splits=("train", "val"))


def test_an_evaluation_compares_weights_with_what_needs_no_training(archive, tmp_path):
    found = evaluate(None, "nano", archive, "test", 28, "cpu", Silent())
    assert list(found)[:3] == ["random weights", "raw pixels", "PCA 64"]
    assert "random weights - raw pixels" in found


def test_the_size_is_read_off_the_weights():
    for size in ("nano", "small"):
        assert size_of_state(create_model(size, None).state_dict()) == size
    with pytest.raises(UsageError, match="width 7 and depth 0 are none of small, base, nano"):
        size_of_state({"cls_token": torch.zeros(1, 1, 7)})
