"""Metrics as functions of the draws are the metrics; draws, exchanges and clusters are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omnibench.errors import IntegrityError, UsageError
from omnibench.metrics import bleu, captioning
from omnibench.metrics.classification import metrics_from_scores
from omnibench.metrics.segmentation import metrics_from_counts
from omnibench_leaderboard.stats import classification
from omnibench_leaderboard.stats.bootstrap import bootstrap, draws
from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.crossed import crossed_bootstrap, crossed_means, linearised
from omnibench_leaderboard.stats.metric import cases, statistic
from omnibench_leaderboard.stats.permutation import exchange, sign_flip
from omnibench_leaderboard.stats.statistic import CaseMeans

CLS = ["accuracy", "f1_macro", "f1_of_macro_pr", "balanced_accuracy"]
SEG = ["miou_dataset", "dice_dataset", "miou_fg_dataset", "dice_fg_dataset", "iou_fg_image"]
SEG += ["dice_fg_image", "iou_macro_image", "dice_macro_image"]
SEG += ["miou_paper", "dice_paper", "f1_paper"]
TEXTS = ["bleu", "bleu_1", "bleu_2", "bleu_3", "p1", "p2", "p3", "p4", "bp", "rouge_l"]
WORDS = ["chest", "x", "ray", "of", "the", "left", "lung", "shows", "a", "small", "mass"]

Predictions = dict[str, np.ndarray[Any, Any]]


def scored(n: int, classes: int, seed: int, labels_seed: int = 0) -> Predictions:
    labels = np.random.default_rng(labels_seed).permutation(np.arange(n) % classes)
    scores = np.random.default_rng(seed).normal(size=(n, classes))
    scores[np.arange(n), labels] += 0.8
    # Coarse scores, so that ties occur.
    coarse = np.round(scores, 1).astype(np.float32)
    return {"test_id": np.arange(n), "test_score": coarse, "test_label": labels}


def counted(n: int, classes: int, seed: int, side: int = 12) -> Predictions:
    truth = np.random.default_rng(0).integers(classes, size=(n, side * side))
    truth[::4] = 0
    rng = np.random.default_rng(seed)
    guess = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(classes, size=truth.shape))
    guess[::8] = 0
    kinds = [
        ((guess == c) & (truth == c), (guess == c) & (truth != c), (guess != c) & (truth == c))
        for c in range(classes)
    ]
    three = np.array([[k.sum(axis=1) for k in kind] for kind in kinds]).transpose(2, 0, 1)
    counts = np.concatenate([three, side * side - three.sum(axis=2, keepdims=True)], axis=2)
    return {"test_id": np.arange(n), f"test_counts@{side}": counts}


def written(n: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    references = [" ".join(np.random.default_rng(i).permutation(WORDS)[:8]) for i in range(n)]
    captions = [
        " ".join(w for w in text.split() if rng.random() < 0.8) + " lung" for text in references
    ]
    texts = np.array(references)[:, None]
    return {
        "test_id": np.arange(n),
        "test_captions": np.array(captions),
        "test_references": texts,
    }


def drawn(predictions: Predictions, row: np.ndarray[Any, Any]) -> Predictions:
    """Return predictions in which each case stands as often as it was drawn."""
    rows = np.repeat(np.arange(len(row)), row.astype(int))
    out = {name: array[rows] for name, array in predictions.items()}
    return out | {"test_id": np.arange(len(rows))}


def value(metric: str, predictions: Predictions) -> float:
    """Return the metric as records hold it."""
    if "test_score" in predictions:
        found = metrics_from_scores(predictions["test_score"], predictions["test_label"])
    elif "test_captions" in predictions:
        found = [
            *bleu.metrics_from_counts(bleu.counts(*captioning.texts(predictions, "test"))),
            *[m for m in captioning.metrics(predictions) if m.id == "rouge_l"],
        ]
    else:
        grid = metric.partition("@")[2]
        found = metrics_from_counts(predictions[f"test_counts@{grid}"], grid)
    return {m.id: m.value for m in found}[metric]


def cells(metric: str, count: int = 2) -> list[Predictions]:
    if metric == "auc":
        return [scored(40, 2, seed) for seed in range(1, count + 1)]
    if metric in CLS or metric == "auc_ovr_macro":
        return [scored(60, 3, seed) for seed in range(1, count + 1)]
    if metric in TEXTS:
        return [written(12, seed) for seed in range(1, count + 1)]
    return [counted(37, 3, seed) for seed in range(1, count + 1)]


ALL = [*CLS, "auc", "auc_ovr_macro", *[f"{metric}@12" for metric in SEG], *TEXTS]


@pytest.mark.parametrize("metric", ALL)
def test_a_resampled_metric_is_the_metric_of_the_drawn_cases(metric: str) -> None:
    runs = cells(metric)
    found = statistic(metric, runs)
    expected = [value(metric, run) for run in runs]
    assert found.values() == pytest.approx(expected, abs=1e-12)
    block = next(draws(cases(runs), resamples=5))
    resampled = found.resampled(block)
    assert resampled.shape == (5, 2)
    for row, values in zip(block, resampled, strict=True):
        expected = [value(metric, drawn(run, row)) for run in runs]
        assert values == pytest.approx(expected, abs=1e-12)
    assert np.ptp(resampled[:, 0]) > 0


@pytest.mark.parametrize("metric", [m for m in ALL if m not in ("auc", "auc_ovr_macro")])
def test_exchanging_cases_is_the_difference_of_mixed_predictions(metric: str) -> None:
    a, b = cells(metric)
    swap = np.random.default_rng(5).random((4, len(next(iter(a.values()))))) < 0.5
    first, second = statistic(metric, [a]), statistic(metric, [b])
    found = first.exchanged(second, swap)
    for row, gap in zip(swap, found, strict=True):
        pairs = {name: (a[name], b[name]) for name in a}
        wide = {n: row.reshape(-1, *[1] * (x.ndim - 1)) for n, (x, _) in pairs.items()}
        mixed = {n: np.where(wide[n], y, x) for n, (x, y) in pairs.items()}
        other = {n: np.where(wide[n], x, y) for n, (x, y) in pairs.items()}
        assert gap == pytest.approx(value(metric, mixed) - value(metric, other), abs=1e-12)


def test_exchanged_ranks_are_compared_anew() -> None:
    """AUC by its definition, over all pairs of mixed ranks."""
    runs = [scored(30, 2, seed) for seed in (1, 2)]
    a, b = (statistic("auc", [run]) for run in runs)
    assert isinstance(a, classification.Auc) and isinstance(b, classification.Auc)
    positive = a.positives[0]
    swap = np.random.default_rng(5).random((6, 30)) < 0.5
    x, y = a.ranks[0, 0], b.ranks[0, 0]

    def area(ranks: np.ndarray[Any, Any]) -> float:
        gaps = ranks[positive][:, None] - ranks[~positive][None, :]
        return float(np.heaviside(gaps, 0.5).mean())

    expected = [area(np.where(row, y, x)) - area(np.where(row, x, y)) for row in swap]
    assert a.exchanged(b, swap) == pytest.approx(expected, abs=1e-12)


def test_a_large_area_is_nearly_linear_in_the_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [scored(1200, 2, 1)]
    known = cases(runs)
    exact = bootstrap(statistic("auc", runs), known, 300)
    monkeypatch.setattr(classification, "MAX_PAIRS", 0)
    linear = bootstrap(statistic("auc", runs), known, 300)
    assert 0 < (linear - exact).std() < 0.05 * exact.std()
    assert linear.std() == pytest.approx(exact.std(), rel=0.01)


def test_draws_are_as_many_as_units_and_the_same_for_all() -> None:
    single = Cases.of(range(50))
    block = np.concatenate(list(draws(single, 300)))
    assert block.shape == (300, 50)
    assert (block.sum(axis=1) == 50).all()
    # Each case is drawn once on average, with the variance of 50 draws from 50.
    assert block.mean() == 1.0
    assert block.var() == pytest.approx(1 - 1 / 50, rel=0.03)
    assert (block == np.concatenate(list(draws(Cases.of(range(50)), 300)))).all()
    assert (block != np.concatenate(list(draws(Cases.of(range(1, 51)), 300)))).any()


def test_cases_of_a_cluster_are_drawn_together() -> None:
    groups = np.repeat([7, 3, 5], [4, 1, 6])
    clustered = Cases.of(range(11), groups)
    assert clustered.units == 3
    block = np.concatenate(list(draws(clustered, 50)))
    for group in (7, 3, 5):
        members = block[:, groups == group]
        assert (members == members[:, :1]).all()
    firsts = [np.flatnonzero(groups == group)[0] for group in (7, 3, 5)]
    assert (block[:, firsts].sum(axis=1) == 3).all()


def test_draws_do_not_depend_on_the_blocks_they_come_in() -> None:
    """Two thousand rows of many cases come in several blocks."""
    many = Cases.of(range(30_000))
    blocks = list(draws(many, 150))
    assert len(blocks) > 1
    assert sum(len(block) for block in blocks) == 150


def test_both_forms_of_the_crossed_interval_agree_on_a_mean() -> None:
    """The bootstrap of a mean estimates the variance components of the analysis of variance."""
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(5, 1)) * 0.05 + rng.normal(size=(1, 80)) + rng.normal(size=(5, 80))
    single = Cases.of(range(80))
    exact = crossed_means(scores)
    mean = CaseMeans(scores)
    found = crossed_bootstrap(mean.values(), bootstrap(mean, single, 20_000), 80)
    assert exact.se is not None and found.se is not None
    assert found.value == pytest.approx(exact.value)
    assert found.se == pytest.approx(exact.se, rel=0.02)
    assert found.df == pytest.approx(exact.df, rel=0.1)


def test_clusters_of_unequal_size_agree_with_their_bootstrap() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), rng.integers(1, 9, size=40))
    scores = rng.normal(size=40)[groups] + rng.normal(size=(5, len(groups)))
    clustered = Cases.of(range(len(groups)), groups)
    contributions = linearised(scores, clustered)
    assert contributions.shape == (5, 40)
    assert contributions.mean(axis=1) == pytest.approx(scores.mean(axis=1))
    exact = crossed_means(contributions)
    mean = CaseMeans(scores)
    found = crossed_bootstrap(mean.values(), bootstrap(mean, clustered, 20_000), 40)
    independent = crossed_means(scores)
    assert exact.se is not None and found.se is not None and independent.se is not None
    assert found.se == pytest.approx(exact.se, rel=0.05)
    assert exact.se > 1.4 * independent.se


def test_exchange_of_a_mean_is_the_sign_flip() -> None:
    rng = np.random.default_rng(5)
    a, b = (CaseMeans(rng.normal(size=(1, 12))) for _ in range(2))
    found = exchange(a, b, Cases.of(range(12)))
    assert found.exact
    assert found.p == sign_flip((a.scores - b.scores)[0]).p


def test_exchanged_clusters_move_as_a_whole() -> None:
    """Four clusters have 16 exchanges, so no p is below 1 / 8."""
    a, b = CaseMeans([np.ones(40)]), CaseMeans([np.zeros(40)])
    found = exchange(a, b, Cases.of(range(40), np.arange(40) // 10))
    assert (found.p, found.floor) == (0.125, 0.125)


def test_sampled_exchanges_are_deterministic_and_near_the_exact_p() -> None:
    rng = np.random.default_rng(6)
    d = rng.normal(0.3, 1, size=16)
    exact = sign_flip(d).p
    sampled = [sign_flip(np.concatenate([d, [1e-9] * 9]), ["x"]).p for _ in range(2)]
    assert sampled[0] == sampled[1]
    assert sampled[0] == pytest.approx(exact, abs=0.02)


def test_runs_on_other_cases_are_refused() -> None:
    a, b = scored(20, 2, 1), scored(20, 2, 2)
    b["test_id"] = b["test_id"] + 1
    with pytest.raises(IntegrityError, match="1 of 2 runs differ"):
        cases([a, b])
    with pytest.raises(IntegrityError, match="1 of 2 runs lack test_group"):
        cases([a | {"test_group": a["test_id"]}, scored(20, 2, 1)])
    with pytest.raises(IntegrityError, match="20 case ids, 1 of them different"):
        cases([a | {"test_id": np.zeros(20, dtype=int)}])


def test_metrics_without_a_form_a_case_are_said() -> None:
    with pytest.raises(UsageError, match="rank_me has no form a case"):
        statistic("rank_me", [scored(20, 2, 1)])
    with pytest.raises(UsageError, match="at least one finished run"):
        statistic("accuracy", [])
    with pytest.raises(IntegrityError, match="auc is not the AUC of 3 classes"):
        statistic("auc", [scored(20, 3, 1)])


def test_runs_of_other_classes_are_refused() -> None:
    two = scored(20, 2, 1)
    three = two | {"test_score": np.zeros((20, 3), dtype=np.float32)}
    for metric in ("accuracy", "f1_macro", "auc"):
        with pytest.raises(IntegrityError, match=r"shapes \(20, 2\), \(20, 3\)"):
            statistic(metric, [two, three])
    with pytest.raises(IntegrityError, match=r"shapes \(8, 2, 4\), \(8, 3, 4\)"):
        statistic("miou_paper@12", [counted(8, 2, 1), counted(8, 3, 1)])


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(IntegrityError, match="1 of 4 scores a case are not finite"):
        CaseMeans([[0.0, 1.0, np.nan, 1.0]])
