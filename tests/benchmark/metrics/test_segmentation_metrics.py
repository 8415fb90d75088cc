"""Segmentation metrics against hand-computed values, the released formulas and libraries."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from omnibench.errors import IntegrityError
from omnibench.metrics.segmentation import (
    check_counts,
    dice,
    iou,
    metrics_from_counts,
    paper_scores,
    per_image,
)


def counts_of(reference: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts [N, C, 4] by comparing masks [N, H, W] class by class."""
    out = np.zeros((len(reference), classes, 4), dtype=np.int64)
    for image, (t, p) in enumerate(zip(reference, predicted, strict=True)):
        for c in range(classes):
            a, b = t == c, p == c
            out[image, c] = (a & b).sum(), (~a & b).sum(), (a & ~b).sum(), (~a & ~b).sum()
    return out


def g22() -> tuple[np.ndarray, np.ndarray]:
    """Five 4x4 images: fixture G22 (derived/segmentation notes, statistics section 2.2)."""
    t, p = np.zeros((2, 5, 4, 4), dtype=int)
    t[0, :2], p[0, :2], p[0, 1, 3] = 1, 1, 0
    t[1, 1:3, 1:3], p[1, 1:3, 1:4] = 1, 1
    t[2, 0, 0] = 1
    p[4, 3, 3] = 1
    return t, p


def random_masks(classes: int, images: int = 37, side: int = 6, seed: int = 0):
    """Masks in which classes are often absent from an image."""
    rng = np.random.default_rng(seed)
    top = rng.integers(1, classes + 1, size=(images, 1, 1))
    t = rng.integers(0, top, size=(images, side, side))
    p = np.where(rng.random(t.shape) < 0.6, t, rng.integers(0, top, size=t.shape))
    return t, p


def values(counts: np.ndarray, grid: str = "native") -> dict[str, float]:
    return {m.id.partition("@")[0]: m.value for m in metrics_from_counts(counts, grid)}


def released_batch(t: np.ndarray, p: np.ndarray, classes: int) -> tuple[float, float, float]:
    """One batch as the released code evaluates it, written out over pixels."""
    ious, dices, precisions, recalls = [], [], [], []
    for c in range(classes):
        tp = int(((p == c) & (t == c)).sum())
        fp = int(((p == c) & (t != c)).sum())
        fn = int(((p != c) & (t == c)).sum())
        if tp + fp + fn > 0:
            ious.append(tp / (tp + fp + fn + 1e-6))
            dices.append(2 * tp / (2 * tp + fp + fn + 1e-6))
        if tp + fp > 0:
            precisions.append(tp / (tp + fp + 1e-6))
        if tp + fn > 0:
            recalls.append(tp / (tp + fn + 1e-6))
    precision, recall = np.mean(precisions), np.mean(recalls)
    f1 = 2 * precision * recall / (precision + recall + 1e-6) if precision + recall else 0.0
    return float(np.mean(ious)), float(np.mean(dices)), float(f1)


def test_the_fixture_has_the_counts_that_the_specification_states():
    expected = [
        [[8, 1, 0, 7], [7, 0, 1, 8]],
        [[10, 0, 2, 4], [4, 2, 0, 10]],
        [[15, 1, 0, 0], [0, 0, 1, 15]],
        [[16, 0, 0, 0], [0, 0, 0, 16]],
        [[15, 0, 1, 0], [0, 1, 0, 15]],
    ]
    assert counts_of(*g22(), 2).tolist() == expected


@pytest.mark.parametrize(
    ("batch_size", "miou", "mean_dice", "f1"),
    [
        (1, 0.713889, 0.751908, 0.823664),
        (2, 0.591518, 0.625824, 0.738086),
        (3, 0.648494, 0.693284, 0.777039),
        (4, 0.648840, 0.693670, 0.777821),
        (5, 0.807518, 0.888610, 0.889048),
    ],
)
def test_paper_scores_of_the_fixture_for_every_batch_size(batch_size, miou, mean_dice, f1):
    found = paper_scores(counts_of(*g22(), 2), batch_size)
    assert found == pytest.approx((miou, mean_dice, f1), abs=5e-7)


def test_dataset_and_image_scores_of_the_fixture():
    counts = counts_of(*g22(), 2)
    assert iou(counts.sum(axis=0)) == pytest.approx([0.92753623, 0.6875])
    assert dice(counts.sum(axis=0)) == pytest.approx([0.96240602, 0.81481481])
    found = values(counts, "4")
    assert found["miou_dataset"] == pytest.approx(0.8075181)
    assert found["dice_dataset"] == pytest.approx(0.8886104)
    assert found["miou_fg_dataset"] == pytest.approx(0.6875)
    assert found["dice_fg_image"] == pytest.approx(0.546667, abs=5e-7)
    assert found["iou_fg_image"] == pytest.approx((7 / 8 + 4 / 6 + 0 + 1 + 0) / 5)
    assert found["empty_reference"] == pytest.approx(0.4)


def test_ids_carry_the_grid_and_the_paper_batch_is_sixteen():
    counts = counts_of(*g22(), 2)
    ids = {m.id: m for m in metrics_from_counts(counts, "4")}
    assert {id.partition("@")[2] for id in ids} == {"4"}
    assert ids["miou_paper@4"].value == paper_scores(counts, 16)[0]
    assert not ids["empty_reference@4"].higher_is_better
    assert not any(id.startswith("iou_macro") for id in ids), "two classes have no macro score"


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 16, 100])
def test_paper_scores_are_those_of_the_released_loop_over_pixels(classes, batch_size):
    t, p = random_masks(classes)
    naive = [
        released_batch(t[s : s + batch_size], p[s : s + batch_size], classes)
        for s in range(0, len(t), batch_size)
    ]
    found = paper_scores(counts_of(t, p, classes), batch_size)
    assert found == pytest.approx(np.mean(naive, axis=0), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_dataset_scores_agree_with_sklearn_and_torchmetrics(classes):
    from torchmetrics.classification import MulticlassJaccardIndex
    from torchmetrics.segmentation import DiceScore

    t, p = random_masks(classes)
    found = values(counts_of(t, p, classes))
    assert found["miou_dataset"] == pytest.approx(
        jaccard_score(t.ravel(), p.ravel(), average="macro")
    )
    oracle = MulticlassJaccardIndex(classes)(torch.tensor(p), torch.tensor(t))
    assert found["miou_dataset"] == pytest.approx(float(oracle), abs=1e-6)
    score = DiceScore(classes, average="macro", aggregation_level="global", input_format="index")
    assert found["dice_dataset"] == pytest.approx(
        float(score(torch.tensor(p), torch.tensor(t))), abs=1e-6
    )


@pytest.mark.filterwarnings("ignore:Division by zero in metric")
def test_image_scores_agree_with_the_library_that_medsegbench_calls():
    smp = pytest.importorskip("segmentation_models_pytorch")
    t, p = random_masks(3)
    stats = smp.metrics.get_stats(
        torch.tensor(p)[:, None], torch.tensor(t)[:, None], mode="multiclass", num_classes=3
    )
    found = values(counts_of(t, p, 3))
    macro = "macro-imagewise"
    assert found["iou_macro_image"] == pytest.approx(
        float(smp.metrics.iou_score(*stats, reduction=macro)), abs=1e-6
    )
    assert found["dice_macro_image"] == pytest.approx(
        float(smp.metrics.f1_score(*stats, reduction=macro)), abs=1e-6
    )
    t, p = random_masks(2)
    stats = smp.metrics.get_stats(torch.tensor(p)[:, None], torch.tensor(t)[:, None], mode="binary")
    found = values(counts_of(t, p, 2))
    assert found["iou_fg_image"] == pytest.approx(
        float(smp.metrics.iou_score(*stats, reduction="micro-imagewise")), abs=1e-6
    )


def test_a_class_that_never_occurs_does_not_count_and_both_empty_is_one():
    t = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])
    counts = counts_of(t, t, 3)
    found = values(counts, "2")
    assert found["miou_dataset"] == 1.0
    assert per_image(iou, counts).tolist() == [1.0, 1.0]
    assert found["empty_reference"] == pytest.approx(3 / 4)


def test_a_metric_without_foreground_is_left_out():
    nothing = np.zeros((2, 3, 3), dtype=int)
    found = values(counts_of(nothing, nothing, 2), "3")
    assert "miou_fg_dataset" not in found
    assert found["miou_dataset"] == 1.0


def test_a_missed_lesion_is_zero_in_its_image():
    t, p = np.zeros((2, 1, 4, 4), dtype=int)
    t[0, 0, 0] = 1
    found = values(counts_of(t, p, 2), "4")
    assert found["iou_fg_image"] == 0.0
    assert found["miou_dataset"] == pytest.approx(15 / 16 / 2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[0], r"have shape \(2, 4\)"),
        (lambda c: c.astype(float), "float64; whole numbers"),
        (lambda c: c - 9, "negative"),
        (lambda c: c + np.array([1, 0, 0, 0]), "image 0 do not add up to its pixels"),
        (lambda c: c * np.array([1, 1, 1, 2, 1])[:, None, None], "image 3 .* grid '4'"),
        (lambda c: np.delete(c, slice(None), axis=0), "at least one image"),
    ],
)
def test_counts_that_cannot_be_are_refused(spoil, message):
    with pytest.raises(IntegrityError, match=message):
        metrics_from_counts(spoil(counts_of(*g22(), 2)), "4")


def test_one_swapped_pixel_in_one_class_is_found():
    counts = counts_of(*g22(), 2)
    counts[3, 1] = [0, 1, 0, 15]
    with pytest.raises(IntegrityError, match="image 3"):
        check_counts(counts, "native")
