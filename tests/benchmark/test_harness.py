from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from toy_requests import toy_request

from omnibench.cells import RunRequest
from omnibench.errors import IntegrityError, RunFailed, SetupError, UsageError
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.rescoring import rescore
from omnibench.store import Store
from omnibench.subset import Subset


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return toy_request(tmp_path)


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


def test_a_failure_of_the_whole_cell_hides_no_finished_seed(
    request_, toy_registry, toy, monkeypatch
):
    run(dataclasses.replace(request_, seeds=(1,)), toy_registry)

    def broken(*_):
        raise SetupError("no such file")

    monkeypatch.setattr(toy.task, "run", broken)
    records = [record for _, record, _ in run(request_, toy_registry)]
    assert [(r.seed, r.status) for r in records] == [(0, "failed"), (1, "complete")]


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
        ({"device": "foo"}, UsageError, "none of auto, cpu"),
        ({"label": "x"}, UsageError, "given by --weights"),
        ({"settings": {"tuning": "head"}}, UsageError, "chosen with --tuning"),
        ({"weights": Path("w")}, UsageError, "exclude each other"),
        ({"random_weights": False, "weights": Path("no/file")}, SetupError, "no/file"),
        ({"encoders": ["toy-encoder", "toy-encoder"], "label": "x"}, UsageError, "one --encoder"),
        (
            {"weights": Path("w"), "random_weights": False, "label": "Not a name"},
            UsageError,
            "lower-case letters",
        ),
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


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "tried"),
    [
        (Odd("in a stranger's code, file /secret/name.png"), "bug", [0, 1, 2]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom", [0, 1, 2]),
        (UsageError("no class token"), "usage", [0]),
        (IntegrityError("damaged: /secret/name.png"), "integrity", [0]),
    ],
)
def test_whatever_fails_is_recorded_and_the_other_cells_go_on(
    request_, toy_registry, toy, monkeypatch, error, kind, tried
):
    original = type(toy.task).run

    def run_or_raise(self, handle, dataset, recipe, context):
        if handle.card.name == "toy-encoder":
            self.runs.append(context.seed)
            raise error
        yield from original(self, handle, dataset, recipe, context)

    monkeypatch.setattr(type(toy.task), "run", run_or_raise)
    other = dataclasses.replace(toy_registry.encoders[0].card, name="other")
    toy_registry.encoders.append(dataclasses.replace(toy_registry.encoders[0], card=other))
    both = dataclasses.replace(request_, encoders=["toy-encoder", "other"])
    records = [record for _, record, _ in run(both, toy_registry)]
    assert toy.task.runs == [*tried, 0, 1, 2]
    assert [r.failure["kind"] for r in records if r.failure] == [kind] * len(tried)
    assert sum(r.status == "complete" for r in records) == 3
    assert all("secret" not in r.to_json() for r in records), "records name no files"


def test_a_damaged_record_is_found_before_anything_runs(request_, toy_registry, toy):
    run(dataclasses.replace(request_, seeds=(2,)), toy_registry)
    path = next(Store(request_.results).paths())
    path.write_text(path.read_text().replace('"seed": 2', '"seed": 3'))
    with pytest.raises(IntegrityError):
        run(request_, toy_registry)
    assert toy.task.runs == [2]


def test_another_version_of_a_plugin_with_its_own_weights_is_another_run(request_, toy, tmp_path):
    from omnibench.registry import Registry

    for version in ("1", "2", "2"):
        registry = Registry()
        registry._add("toybox", version, "toy", lambda: toy)
        run(request_, registry)
    assert toy.task.runs == [0, 1, 2] * 2


def test_trained_weights_are_kept_when_asked_and_named_by_digest(
    request_, toy_registry, toy, monkeypatch, caplog
):
    import hashlib

    run(dataclasses.replace(request_, seeds=(0,)), toy_registry)
    kept = dataclasses.replace(request_, seeds=(0,), keep_weights=True)
    run(kept, toy_registry)
    assert "without --keep-weights" in caplog.text
    original = type(toy.task).run

    def with_weights(self, *arguments):
        for outcome in original(self, *arguments):
            yield dataclasses.replace(outcome, weights={"w": np.ones(3, np.float32)})

    monkeypatch.setattr(type(toy.task), "run", with_weights)
    fresh = dataclasses.replace(kept, results=request_.results / "fresh")
    _, record, _ = run(fresh, toy_registry)[0]
    (file,) = (fresh.results / "weights").glob("*.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record.weights["sha256"] == file.stem


def test_files_of_killed_writers_are_swept_and_living_ones_are_not(request_, toy_registry):
    import os
    import time

    folder = request_.results / "runs" / "ab" / "x"
    folder.mkdir(parents=True)
    dead, young, alive = (
        folder / f".{pid}-{n}" for n, pid in enumerate((2**22, 2**22, os.getpid()))
    )
    for path in (dead, young, alive):
        path.write_text("half")
    for path in (dead, alive):
        os.utime(path, (time.time() - 7200,) * 2)
    plan(request_, toy_registry)
    assert [p.exists() for p in (dead, young, alive)] == [False, True, True]


def test_a_failure_that_repeats_leaves_no_second_record(request_, toy_registry, toy, monkeypatch):
    broken = dataclasses.replace(request_, settings={"fail_seed": "1"}, seeds=(1,))
    first, again = (run(broken, toy_registry)[0] for _ in range(2))
    assert toy.task.runs == [1, 1] and first[2] == again[2]
    assert len(list(Store(request_.results).paths())) == 1

    def fail_otherwise(self, handle, dataset, recipe, context):
        raise MemoryError

    monkeypatch.setattr(type(toy.task), "run", fail_otherwise)
    _, other, path = run(broken, toy_registry)[0]
    assert other.failure["kind"] == "oom" and path != first[2]
    assert len(list(Store(request_.results).paths())) == 2


def test_a_state_that_a_killed_process_left_goes_with_its_finished_seed(request_, toy_registry):
    _, record, _ = run(dataclasses.replace(request_, seeds=(0,)), toy_registry)[0]
    left = request_.results / "unfinished" / f"{record.run_id}.pt"
    left.parent.mkdir()
    left.write_bytes(b"state")
    run(request_, toy_registry)
    assert not left.exists()


def test_variants_that_have_their_record_are_not_run_or_written_again(
    request_, toy_registry, toy, monkeypatch
):
    original, told = type(toy.task).run, []

    def both(self, handle, dataset, recipe, context):
        told.append(sorted(context.finished))
        for variant in ("a", "b"):
            if variant == "b" and len(told) == 1:
                raise RunFailed("the second search failed", kind="nan_loss")
            for outcome in original(self, handle, dataset, recipe, context):
                yield dataclasses.replace(outcome, variant=variant)

    monkeypatch.setattr(type(toy.task), "variants", lambda self, recipe: ("a", "b"))
    monkeypatch.setattr(type(toy.task), "run", both)
    one_seed = dataclasses.replace(request_, seeds=(0,))
    first = run(one_seed, toy_registry)
    second = run(one_seed, toy_registry)
    third = run(one_seed, toy_registry)
    assert told == [[], ["a"]], "what is whole is not run a third time"
    assert [r.status for _, r, _ in first] == ["complete", "failed"]
    assert [r.identity["task"]["variant"] for _, r, _ in second] == ["a", "b"]
    assert first[0][2] == second[0][2], "a task may yield it again; its record stays the first"
    assert [path for *_, path in second] == [path for *_, path in third]
    assert second[0][1].timing["resumed"] == []


def test_a_tables_order_is_the_requests_whoever_ran_the_seeds(request_, toy_registry):
    from omnibench.commands.run import _summaries

    cells, store = plan(request_, toy_registry), Store(request_.results)
    finished = list(execute(cells, request_))
    (table,) = _summaries(cells, finished, toy_registry, store)
    assert table.seeds == (0, 1, 2)
    assert _summaries(cells, finished[::-1], toy_registry, store) == [table]
