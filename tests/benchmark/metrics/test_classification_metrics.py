"""Golden values (statistics, G21 and its pitfalls) and agreement with two oracles."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from omnibench.errors import IntegrityError
from omnibench.metrics.classification import (
    auc,
    confusion_counts,
    f1_macro,
    flags_from_scores,
    metrics_from_scores,
)

# G21: the three-class example of the metric definitions.
G21_LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
G21_SCORES = np.array(
    [
        [0.6, 0.3, 0.1],
        [0.5, 0.2, 0.3],
        [0.2, 0.5, 0.3],
        [0.3, 0.4, 0.3],
        [0.1, 0.6, 0.3],
        [0.2, 0.3, 0.5],
        [0.4, 0.2, 0.4],
        [0.1, 0.1, 0.8],
    ]
)


def values(scores, labels):
    return {m.id: m.value for m in metrics_from_scores(scores, labels)}


def one_hot(predicted, classes):
    return np.eye(classes)[np.asarray(predicted)]


def test_g21_one_vs_rest_auc():
    assert values(G21_SCORES, G21_LABELS)["auc_ovr_macro"] == pytest.approx(0.916667, abs=5e-7)
    per_class = [auc(G21_SCORES[:, c], np.equal(G21_LABELS, c)) for c in range(3)]
    assert per_class == pytest.approx([0.8333, 0.9167, 1.0], abs=5e-5)


def test_g21_ties_in_the_scores_go_to_the_lowest_class():
    # Row 6 scores classes 0 and 2 equally (0.4): predicted 0, so 6 of 8 are right.
    assert values(G21_SCORES, G21_LABELS)["accuracy"] == 6 / 8


def test_f1_macro_and_f1_of_macro_precision_and_recall_are_different_numbers():
    labels = [0] * 6 + [1] * 3 + [2]
    predicted = [0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    found = values(one_hot(predicted, 3), np.array(labels))
    assert found["f1_macro"] == pytest.approx(0.478632, abs=5e-7)
    assert found["f1_of_macro_pr"] == pytest.approx(0.479339, abs=5e-7)
    assert found["accuracy"] == 0.7
    assert found["balanced_accuracy"] == 0.5


def test_a_class_absent_from_labels_and_predictions_is_left_out_and_counted():
    labels, predicted = np.array([0, 0, 1, 1]), [0, 0, 1, 0]
    scores = one_hot(predicted, 3)
    assert values(scores, labels)["f1_macro"] == pytest.approx(0.733333, abs=5e-7)
    assert flags_from_scores(scores, labels)["classes_absent"] == 1


def test_a_class_only_predicted_counts_as_zero():
    labels, predicted = np.array([0, 0, 1, 1]), [0, 0, 1, 2]
    expected = sk.f1_score(labels, predicted, labels=range(3), average="macro", zero_division=0)
    assert values(one_hot(predicted, 3), labels)["f1_macro"] == pytest.approx(expected)


def test_binary_auc_uses_scores_not_decisions():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    p1 = np.array([0.1, 0.2, 0.3, 0.8, 0.7, 0.9, 0.95, 0.97])
    scores = np.stack([1 - p1, p1], axis=1)
    # 15 of 16 pairs are in order; decisions alone would give 0.875.
    assert values(scores, labels)["auc"] == 0.9375
    assert "auc_ovr_macro" not in values(scores, labels)


def test_a_class_absent_from_the_labels_renames_the_auc_and_is_counted():
    present = G21_LABELS != 1
    found = values(G21_SCORES[present], G21_LABELS[present])
    assert "auc_ovr_macro" not in found
    expected = np.mean(
        [sk.roc_auc_score(G21_LABELS[present] == c, G21_SCORES[present][:, c]) for c in (0, 2)]
    )
    assert found["auc_ovr_present"] == pytest.approx(expected)
    assert flags_from_scores(G21_SCORES[present], G21_LABELS[present])["auc_classes"] == 2


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_single_label_gives_finite_metrics_and_no_auc(classes):
    scores = np.full((5, classes), 1 / classes)
    found = values(scores, np.zeros(5, dtype=np.int64))
    assert not any(name.startswith("auc") for name in found)
    assert all(math.isfinite(v) for v in found.values())
    assert flags_from_scores(scores, np.zeros(5, dtype=np.int64))["constant_prediction"]


def test_metrics_are_never_nan_whatever_is_predicted():
    draw = np.random.default_rng(0)
    for _ in range(300):
        n, classes = int(draw.integers(1, 6)), int(draw.integers(2, 6))
        labels = draw.integers(0, classes, n)
        scores = one_hot(draw.integers(0, classes, n), classes)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = values(scores, labels)
        assert all(0 <= v <= 1 for v in found.values())
        assert {"accuracy", "f1_macro", "f1_of_macro_pr", "balanced_accuracy"} <= set(found)


@pytest.mark.parametrize("classes", [2, 5])
def test_sklearn_and_torchmetrics_agree_on_random_scores(classes):
    from torchmetrics.functional.classification import multiclass_auroc, multiclass_f1_score

    draw = np.random.default_rng(classes)
    labels = draw.integers(0, classes, 200)
    scores = draw.dirichlet(np.ones(classes), 200).round(2)  # rounding makes ties
    scores /= scores.sum(axis=1, keepdims=True)
    predicted = scores.argmax(axis=1)
    found = values(scores, labels)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(labels, predicted)
    )
    p, r, _, _ = sk.precision_recall_fscore_support(labels, predicted, average="macro")
    assert found["f1_of_macro_pr"] == pytest.approx(2 * p * r / (p + r))
    s, y = torch.tensor(scores), torch.tensor(labels)
    assert found["f1_macro"] == pytest.approx(
        float(multiclass_f1_score(s, y, classes, average="macro")), abs=1e-6
    )
    if classes == 2:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, scores[:, 1]))
    else:
        expected = sk.roc_auc_score(labels, scores, multi_class="ovr")
        assert found["auc_ovr_macro"] == pytest.approx(expected)
        assert found["auc_ovr_macro"] == pytest.approx(
            float(multiclass_auroc(s, y, classes, average="macro")), abs=1e-5
        )


def test_counts_have_labels_in_rows():
    counts = confusion_counts([1, 1, 0], [0, 1, 1], 2)
    assert counts.tolist() == [[0, 1], [1, 1]]
    assert f1_macro(counts) == pytest.approx(0.25)


def test_damaged_scores_are_refused_with_what_is_wrong():
    good, labels = np.full((3, 2), 0.5), np.array([0, 1, 1])
    nan = good.copy()
    nan[1, 0] = np.nan
    with pytest.raises(IntegrityError, match="1 of 6 scores are not finite"):
        metrics_from_scores(nan, labels)
    with pytest.raises(IntegrityError, match=r"labels run from 0 to 2, but .* 2 classes"):
        metrics_from_scores(good, np.array([0, 1, 2]))
    with pytest.raises(IntegrityError, match="do not fit"):
        metrics_from_scores(good, labels[:2])
    with pytest.raises(IntegrityError, match="do not fit"):
        metrics_from_scores(np.empty((0, 2)), np.empty(0, dtype=np.int64))
    with pytest.raises(IntegrityError, match="floats and integers"):
        metrics_from_scores(good, labels.astype(float))
