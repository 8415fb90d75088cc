"""The probes `knn` and `linear`."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.errors import UsageError
from omnibench.interfaces import RunContext
from omnibench.recipe import override
from omnibench_plugins.tasks.probes.features import extract
from omnibench_plugins.tasks.probes.knn import vote
from omnibench_plugins.tasks.probes.linear import choose
from omnibench_plugins.tasks.probes.task import Knn, Linear


def blobs(count, classes=3, width=5, spread=0.3, seed=0):
    """Features around one corner a class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    return np.eye(classes, width)[labels] + draw.normal(0, spread, (count, width)), labels


def small(task, **changes):
    return dataclasses.replace(task.recipe("fair"), image_size=32, **changes)


# ---- nearest neighbours -------------------------------------------------------------


def test_votes_are_those_of_the_written_out_equation():
    bank = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 2.0], [-1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    found = vote(bank[:1] * 3, bank, labels, classes=3, k=3, temperature=0.5)
    e = np.exp(np.array([1.0, 0.8, 0.0]) / 0.5)
    assert found[0].tolist() == pytest.approx([e[0] / e.sum(), (e[1] + e[2]) / e.sum(), 0.0])


def test_neighbours_separate_blobs_and_ignore_length():
    (bank, labels), (queries, truth) = blobs(90), blobs(300, seed=1)
    bank, labels = torch.from_numpy(bank), torch.from_numpy(labels)
    q = torch.from_numpy(queries)
    scores = vote(q, bank, labels, classes=3, k=20, temperature=0.07)
    assert (scores.argmax(dim=1).numpy() == truth).mean() > 0.95
    longer = vote(q * 7, bank * 3, labels, classes=3, k=20, temperature=0.07)
    assert torch.allclose(scores, longer)
    assert torch.allclose(scores.sum(dim=1), torch.ones(300, dtype=torch.float64))


def test_fewer_samples_than_neighbours_all_vote():
    bank = torch.eye(3, dtype=torch.float64)
    scores = vote(bank, bank, torch.tensor([0, 1, 2]), classes=3, k=20, temperature=0.07)
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]


# ---- logistic regression ------------------------------------------------------------


def test_regression_separates_blobs():
    train, val, test = (blobs(n, spread=0.2, seed=s) for n, s in ((90, 0), (60, 1), (300, 2)))
    probe = choose(train, val, classes=3, grid=(0.01, 1.0), max_iterations=500)
    scores = probe.scores(test[0])
    assert (scores.argmax(axis=1) == test[1]).mean() > 0.95
    assert scores.sum(axis=1) == pytest.approx(1)
    assert probe.converged and probe.criterion == "auc_ovr_macro"


def test_the_penalty_is_chosen_on_validation_and_small_c_wins_ties():
    # Classes that never touch: every penalty orders validation perfectly.
    train, val = blobs(60, spread=0.01), blobs(30, spread=0.01, seed=1)
    probe = choose(train, val, classes=3, grid=(10.0, 0.1, 0.001), max_iterations=500)
    assert probe.validation == {0.001: 1.0, 0.1: 1.0, 10.0: 1.0}
    assert probe.c == 0.001


def test_the_chosen_penalty_has_the_best_validation_score():
    # Many noisy features and few samples: a weak penalty overfits.
    train = blobs(40, classes=2, width=200, spread=1.0)
    val = blobs(200, classes=2, width=200, spread=1.0, seed=1)
    probe = choose(train, val, classes=2, grid=(1e-4, 1e-2, 1.0, 100.0), max_iterations=2000)
    assert probe.criterion == "auc"
    assert probe.validation[probe.c] == max(probe.validation.values())
    assert len(set(probe.validation.values())) > 1


def test_a_class_without_training_samples_scores_zero():
    features, labels = blobs(60)
    here = labels != 1
    probe = choose(
        (features[here], labels[here]),
        blobs(30, seed=1),
        classes=3,
        grid=(1.0,),
        max_iterations=500,
    )
    assert (probe.scores(features)[:, 1] == 0).all()


def test_one_class_in_validation_falls_back_on_accuracy():
    val = blobs(60, classes=2, seed=1)
    only = val[1] == 0
    probe = choose(
        blobs(60, classes=2),
        (val[0][only], val[1][only]),
        classes=2,
        grid=(1.0,),
        max_iterations=500,
    )
    assert probe.criterion == "accuracy"


def test_one_class_in_training_is_refused():
    features, labels = blobs(20)
    with pytest.raises(UsageError, match="one class only"):
        choose((features, labels * 0), blobs(9), classes=3, grid=(1.0,), max_iterations=10)


def test_a_solver_that_does_not_arrive_is_reported_not_warned_about(recwarn):
    probe = choose(blobs(90), blobs(30, seed=1), classes=3, grid=(1e4,), max_iterations=1)
    assert not probe.converged
    assert not [w for w in recwarn if "converge" in str(w.message)]


# ---- the tasks ----------------------------------------------------------------------


@pytest.mark.parametrize("task", [Knn(), Linear()], ids=lambda t: t.name)
def test_a_probe_runs_and_gives_the_same_record_for_every_seed(task, vit_handle, stripes):
    recipe = small(task)
    one, two = (
        next(task.run(vit_handle(), stripes, recipe, RunContext(seed=seed))) for seed in (0, 7)
    )
    assert not task.stochastic(recipe) and recipe.seeds == 1
    for name, array in one.predictions.items():
        assert np.array_equal(array, two.predictions[name])
    scores = {m.id: m.value for m in task.score(one.predictions)}
    assert scores["accuracy"] > 0.7
    assert json.dumps(one.details, allow_nan=False)
    assert one.predictions["test_id"].tolist() == list(range(36, 48))


def test_parameters_of_a_probe_are_counted(vit_handle, stripes):
    knn, linear = (
        next(t.run(vit_handle(), stripes, small(t), RunContext(seed=0))) for t in (Knn(), Linear())
    )
    assert knn.params_trainable == 0
    assert linear.params_trainable == 2 * (64 + 1)  # pooled and mean token side by side
    assert linear.params_total == knn.params_total + linear.params_trainable
    assert knn.flops_per_image > 0 and knn.details["neighbours"] == 20


@pytest.mark.parametrize("chosen", ["pooled", "mean", "pooled+mean"])
def test_features_are_what_the_recipe_names(vit_handle, stripes, chosen):
    handle = vit_handle()
    found = extract(handle, stripes, small(Linear(), features=chosen), RunContext(seed=0))
    encoder = handle.build(normalization="own", pool="cls").eval()
    image = torch.from_numpy(stripes.split("test").image(0)).float() / 255
    with torch.no_grad():
        features = encoder(image.expand(1, 3, -1, -1))
    parts = {"pooled": features.pooled[0], "mean": features.tokens[0].mean(dim=0)}
    expected = torch.cat([parts[name] for name in chosen.split("+")])
    assert found.features["test"][0] == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("task", [Knn(), Linear()], ids=lambda t: t.name)
def test_a_missing_class_token_is_refused_before_images_are_read(task, tokenless_handle, unread):
    with pytest.raises(UsageError, match="no class token; use --set pool=avg"):
        next(task.run(tokenless_handle, unread, small(task), RunContext(seed=0)))


def test_an_encoder_without_class_token_is_probed_by_its_mean_token(tokenless_handle, stripes):
    recipe = small(Linear(), features="mean", pool="cls")
    assert extract(tokenless_handle, stripes, recipe, RunContext(seed=0)).features["val"].any()


@pytest.mark.parametrize("task", [Knn(), Linear()], ids=lambda t: t.name)
def test_probes_say_that_they_always_compute_in_full_precision(task, vit_handle, stripes):
    recipe = small(task)
    assert {task.precision(asked, recipe) for asked in ("fp32", "bf16", "fp16")} == {"fp32"}
    full, half = (
        next(task.run(vit_handle(), stripes, recipe, RunContext(seed=0, precision=precision)))
        for precision in ("fp32", "bf16")
    )
    assert np.array_equal(full.predictions["test_score"], half.predictions["test_score"])


def test_recipes_of_probes_are_checked():
    assert Knn().recipe("quick").max_images == (60, 20, 40)
    assert override(Linear().recipe("fair"), {"grid": "0.1,1"}).grid == (0.1, 1.0)
    assert Linear().recipe("quick").max_images == (60, 20, 40)
    for task, settings in (
        (Knn(), {"k": "0"}),
        (Knn(), {"temperature": "0"}),
        (Knn(), {"max_images": "1,9,9"}),
        (Linear(), {"grid": ""}),
        (Linear(), {"max_iterations": "0"}),
    ):
        with pytest.raises(UsageError, match=next(iter(settings))):
            override(task.recipe("fair"), settings)


def test_probes_refuse_what_has_no_single_label():
    masks = DatasetSpec(name="m", kind="masks", open=lambda access: None)
    vit = EncoderSpec(name="e", build=lambda: None, patch_size=14)
    assert "needs labels" in (Knn().accepts(masks, vit, Knn().recipe("fair")) or "")
