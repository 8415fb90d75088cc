from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.harness import execute
from omnibench.planning import RunRequest, plan
from omnibench.rescoring import rescore
from omnibench.store import Store
from omnibench.subset import Subset


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return RunRequest(
        encoders=["toy-encoder"],
        task="toy",
        datasets=["toy-labels"],
        random_weights=True,
        data_root=tmp_path / "data",
        cache=tmp_path / "cache",
        results=tmp_path / "results",
        device="cpu",
    )


def run(request: RunRequest, registry):
    return list(execute(plan(request, registry), request))


def test_five_seeds_by_recipe_or_as_asked(request_, toy_registry, toy):
    assert [r.seed for _, r, _ in run(request_, toy_registry)] == [0, 1, 2]
    chosen = dataclasses.replace(request_, seeds=(7, 9))
    assert [r.seed for _, r, _ in run(chosen, toy_registry)] == [7, 9]
    assert toy.task.runs == [0, 1, 2, 7, 9]


def test_a_repeated_command_runs_nothing_again(request_, toy_registry, toy):
    first = run(request_, toy_registry)
    again = run(request_, toy_registry)
    assert toy.task.runs == [0, 1, 2]
    assert [p for _, _, p in first] == [p for _, _, p in again]


def test_only_what_is_missing_is_run(request_, toy_registry, toy):
    run(dataclasses.replace(request_, seeds=(1,)), toy_registry)
    run(request_, toy_registry)
    assert toy.task.runs == [1, 0, 2]


def test_changed_settings_are_another_run(request_, toy_registry, toy):
    run(request_, toy_registry)
    run(dataclasses.replace(request_, settings={"lr": "0.2"}), toy_registry)
    run(dataclasses.replace(request_, limit=4), toy_registry)
    assert toy.task.runs == [0, 1, 2] * 3


def test_one_failing_seed_leaves_the_others_intact(request_, toy_registry, toy):
    broken = dataclasses.replace(request_, settings={"fail_seed": "1"})
    records = [record for _, record, _ in run(broken, toy_registry)]
    assert [r.status for r in records] == ["complete", "failed", "complete"]
    assert records[1].failure == {
        "kind": "nan_loss",
        "message": "the training loss became nan in epoch 1, step 1",
    }
    run(broken, toy_registry)
    assert toy.task.runs == [0, 1, 2, 1], "only the failed seed is tried again"


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(request_, toy_registry, toy):
    stopped = dataclasses.replace(request_, settings={"stop_seed": "2"})
    with pytest.raises(KeyboardInterrupt):
        run(stopped, toy_registry)
    statuses = [Store(request_.results).read(p).status for p in Store(request_.results).paths()]
    assert sorted(statuses) == ["complete", "complete", "interrupted"]
    with pytest.raises(KeyboardInterrupt):
        run(stopped, toy_registry)
    assert toy.task.runs == [0, 1, 2, 2]


def test_the_same_seed_gives_the_same_predictions(request_, toy_registry, tmp_path):
    first = run(request_, toy_registry)
    other = run(dataclasses.replace(request_, results=tmp_path / "other"), toy_registry)
    for (_, a, _), (_, b, _) in zip(first, other, strict=True):
        assert a.predictions == b.predictions and a.metrics == b.metrics
        assert a.run_id == b.run_id


def test_random_weights_are_said_in_label_and_identity(request_, toy_registry):
    _, record, _ = run(request_, toy_registry)[0]
    assert record.label == "toy-encoder+random"
    assert record.identity["encoder"]["weights"] == "random"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoders": ["toy-encodr"]}, UsageError, "Did you mean toy-encoder"),
        ({"datasets": ["toy-label"]}, UsageError, "Did you mean toy-labels"),
        ({"datasets": ["toy-masks"]}, UsageError, "it has masks, not labels"),
        ({"recipe": "papr"}, UsageError, "no recipe 'papr'. Did you mean paper"),
        ({"tuning": "lora"}, UsageError, "no tuning 'lora'"),
        ({"settings": {"lrr": "1"}}, UsageError, "no field 'lrr'. Did you mean lr"),
        ({"limit": 1}, UsageError, "at least 2 images"),
        ({"weights": Path("w")}, UsageError, "exclude each other"),
        ({"random_weights": False, "weights": Path("no/file")}, SetupError, "no/file"),
        ({"encoders": ["toy-encoder", "toy-encoder"], "label": "x"}, UsageError, "one --encoder"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    request_, toy_registry, toy, changes, error, message
):
    with pytest.raises(error, match=message):
        plan(dataclasses.replace(request_, **changes), toy_registry)
    assert toy.task.runs == []


def test_scores_are_recomputed_from_predictions(request_, toy_registry):
    run(request_, toy_registry)
    lines = rescore(request_.results, toy_registry)
    assert [line.verdict for line in lines] == ["2 metrics equal"] * 3


def test_an_empty_results_folder_is_said(tmp_path, toy_registry):
    with pytest.raises(SetupError, match="holds no records"):
        rescore(tmp_path, toy_registry)


def test_a_metric_that_does_not_follow_from_predictions_is_found(request_, toy_registry, tmp_path):
    _, record, _ = run(request_, toy_registry)[0]
    arrays = Store(request_.results).predictions(record)
    metrics = {"accuracy": {**record.metrics["accuracy"], "value": 0.999}}
    Store(tmp_path / "forged").save(dataclasses.replace(record, metrics=metrics), arrays)
    (line,) = rescore(tmp_path / "forged", toy_registry)
    assert line.exit_code == 4 and "the record states 0.999" in line.verdict


def test_a_damaged_record_stops_the_run_and_names_the_file(request_, toy_registry):
    _, _, path = run(request_, toy_registry)[0]
    path.write_text(path.read_text().replace('"label": "toy-encoder+random"', '"label": "x"'))
    with pytest.raises(IntegrityError, match="Move the file away"):
        run(request_, toy_registry)
    assert rescore(request_.results, toy_registry)[0].exit_code in (0, 4)
    assert max(line.exit_code for line in rescore(request_.results, toy_registry)) == 4


def test_subset_draws_do_not_depend_on_anything_but_names(request_, toy_registry):
    dataset = plan(request_, toy_registry)[0].dataset
    small = Subset(dataset, (5, 3, 4)).split("train")
    again = Subset(dataset, (5, 2, 2)).split("train")
    assert len(small) == 5 and np.all(np.diff(small.ids) > 0)
    assert np.array_equal(small.ids, again.ids)
    assert len(Subset(dataset, (50, 50, 50)).split("train")) == 12


def test_a_changed_recipe_is_said_and_seeds_are_no_change_of_protocol(request_, toy_registry, toy):
    run(request_, toy_registry)
    run(dataclasses.replace(request_, settings={"seeds": "4"}), toy_registry)
    assert toy.task.runs == [0, 1, 2, 3]
    changed = dataclasses.replace(request_, settings={"lr": "0.5"}, seeds=(0,))
    _, record, _ = run(changed, toy_registry)[0]
    assert record.changes == {"lr": "0.5"}
