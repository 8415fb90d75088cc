"""Collecting: what may enter a table, and the reason given for whatever may not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from toy_requests import toy_request

from omnibench.claims import Claims
from omnibench.errors import SetupError
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.store import Store
from omnibench_leaderboard.cache import Cache, source_digest
from omnibench_leaderboard.collect import collect


def identity(record, **parts):
    """Return the identity with some parts changed: a mapping is merged, a text replaced."""
    changed = {
        name: {**record.identity.get(name, {}), **part} if isinstance(part, dict) else part
        for name, part in parts.items()
    }
    return {**record.identity, **changed}


def save(results: Path, record, **changes) -> None:
    """Save a changed record beside the predictions that it shares."""
    Store(results).save(dataclasses.replace(record, **changes), Store(results).predictions(record))


def kinds(collection):
    return sorted({item.kind for item in collection.exclusions})


def test_runs_become_one_tidy_frame(results, add, tasks):
    for encoder in ("vit-a", "vit-b"):
        for seed in range(3):
            add(encoder, seed)
    collection = collect([results], tasks)
    frame = collection.frame()
    assert collection.exclusions == () and len(collection.cells) == 2
    assert sorted(frame.metric.unique()) == [
        "accuracy",
        "auc",
        "balanced_accuracy",
        "f1_macro",
        "f1_of_macro_pr",
    ]
    assert len(frame) == 2 * 3 * 5 and set(frame.evidence) == {1} and set(frame.cases) == {40}
    assert len(frame.groupby(["encoder", "seed", "metric"])) == len(frame)


def test_real_records_of_the_harness_are_collected(tmp_path, toy_registry):
    request = toy_request(tmp_path, settings={"fail_seed": "1"})
    list(execute(plan(request, toy_registry), request))
    collection = collect([tmp_path / "results"], toy_registry)
    assert sorted(run.seed for run in collection.runs) == [0, 2]
    (missing,) = collection.missing
    assert (missing.seed, missing.reason) == (1, "failed (nan_loss)")
    assert missing.setting == collection.runs[0].setting
    assert collection.runs[0].setting.recipe == "paper with fail_seed=1"


def test_a_failed_run_that_was_finished_later_is_not_missing(results, add, tasks):
    done = add()
    failed = dataclasses.replace(
        done, status="failed", metrics={}, predictions=None, failure={"kind": "oom"}
    )
    Store(results).save(failed, {})
    assert collect([results], tasks).missing == ()


def test_a_folder_without_records_says_how_to_make_them(tmp_path, tasks):
    with pytest.raises(SetupError, match="holds no records; `omnibench run --results"):
        collect([tmp_path], tasks)
    with pytest.raises(SetupError, match="is not a folder"):
        collect([tmp_path / "nowhere"], tasks)


def test_foreign_json_is_named_and_passed_over(results, tmp_path, add, tasks):
    (tmp_path / "mteb.json").write_text('{"task_name": "x", "scores": [1]}')
    with pytest.raises(SetupError, match=r"1 other JSON files were passed over: mteb\.json"):
        collect([tmp_path], tasks)
    add()
    (results / "summary.json").write_text("not even JSON")
    inside = results / "runs/ab/abc/def.json"
    inside.parent.mkdir(parents=True)
    inside.write_text('{"accuracy": 0.9}')
    collection = collect([results], tasks)
    assert len(collection.runs) == 1 and kinds(collection) == ["damaged", "foreign"]
    damaged = next(item for item in collection.exclusions if item.kind == "damaged")
    assert "schema is None" in damaged.reason and damaged.exit_code == 4
    assert str(results) not in damaged.reason and damaged.path == "runs/ab/abc/def.json"


def test_the_claim_of_a_run_that_goes_on_is_no_foreign_file(results, add, tasks):
    add()
    Claims(results).take("ab" * 32, "a run")
    assert list((results / "claims").glob("*.json")) and not collect([results], tasks).exclusions


def test_a_record_in_two_folders_counts_once(results, tmp_path, add, tasks):
    add()
    add(folder=tmp_path / "copy")
    collection = collect([results, tmp_path / "copy"], tasks)
    assert len(collection.runs) == 1 and collection.exclusions == ()


def test_of_two_records_of_one_run_the_earliest_stays(results, add, tasks):
    first = add()
    add(skill=0.1, timing={"ended": "2027-01-01T00:00:00+00:00"})
    collection = collect([results], tasks)
    assert [run.sha256 for run in collection.runs] == [first.record_sha256]
    assert "REPLICATES DIFFER" in collection.exclusions[0].reason


def test_predictions_under_two_encoders_are_shown_for_neither(results, add, tasks):
    add("vit-a", 0)
    add("vit-b", 0, like=("vit-a", 0))
    add("vit-c", 0)
    collection = collect([results], tasks)
    assert [run.record.label for run in collection.runs] == ["vit-c"]
    assert {item.exit_code for item in collection.exclusions} == {4}
    assert sorted(item.reason[:36] for item in collection.exclusions) == [
        "equal predictions stand under vit-a:",
        "equal predictions stand under vit-b:",
    ]


def test_copies_are_found_even_if_the_file_was_written_anew(results, synthetic, tasks):
    arrays = synthetic.cls_predictions("vit-a", "breastmnist", 0, cases=40)
    Store(results).save(synthetic.record(arrays, encoder="vit-a"), arrays)
    other = {**arrays, "val_score": arrays["val_score"][:, ::-1].copy()}
    Store(results).save(synthetic.record(other, encoder="vit-b"), other)
    assert collect([results], tasks).runs == ()


def test_equal_weights_under_two_names_are_one_encoder(results, add, tasks):
    made = add("vit-a", 0)
    encoder = {"name": "timm-vit", "weights_sha256": made.identity["encoder"]["weights_sha256"]}
    save(results, made, identity=identity(made, encoder=encoder), label="timm-vit")
    collection = collect([results], tasks)
    assert len(collection.runs) == 2 and collection.exclusions == ()


def test_a_seed_without_effect_is_no_second_run(results, add, tasks):
    for seed in range(4):
        add("vit-a", seed, like=("vit-a", 0))
    collection = collect([results], tasks)
    assert [run.seed for run in collection.runs] == [0]
    assert len(collection.exclusions) == 3
    assert "predictions are those of seed 0" in collection.exclusions[0].reason


def test_constant_masks_of_two_encoders_are_no_copies(results, synthetic, tasks):
    arrays = synthetic.seg_predictions("vit-a", "busi", 0, cases=6)
    for name in list(arrays):
        if "counts" in name:
            pixels = arrays[name][:, 1, 0] + arrays[name][:, 1, 2]
            background = 448**2 - pixels
            empty = np.zeros_like(arrays[name])
            empty[:, 1, 2] = empty[:, 0, 1] = pixels
            empty[:, 1, 3] = empty[:, 0, 0] = background
            arrays[name] = empty
    for encoder in ("vit-a", "vit-b"):
        made = synthetic.record(arrays, encoder=encoder, dataset="busi", task="seg")
        Store(results).save(made, arrays)
    assert len(collect([results], tasks).runs) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dataset": {"content_sha256": "0" * 64}}, "dataset digest 00000000…"),
        ({"task": {"protocol_sha256": "1" * 64}}, "protocol digest 11111111…"),
        ({"assets": {"language_model": "2" * 64}}, "further settings"),
    ],
)
def test_other_data_or_protocols_do_not_enter_a_column(results, add, tasks, change, told):
    for seed in range(3):
        add("vit-a", seed)
    made = add("vit-b", 0)
    save(results, made, identity=identity(made, **change), timing={"ended": "0"})
    collection = collect([results], tasks)
    (left,) = collection.exclusions
    assert told in left.reason and "than the 4 runs kept" in left.reason
    assert left.what.startswith("vit-b") and left.exit_code == 0


def test_a_changed_recipe_is_another_column(results, add, tasks):
    made = add("vit-a", 0)
    task = {"protocol_sha256": "3" * 64}
    save(results, made, identity=identity(made, task=task), changes={"lr": "0.1"})
    settings = {run.setting.recipe for run in collect([results], tasks).runs}
    assert settings == {"paper", "paper with lr=0.1"}


@pytest.mark.parametrize("what", ["code", "precision", "device"])
def test_seeds_of_a_cell_share_code_precision_and_device(results, add, tasks, what):
    for seed in range(3):
        add("vit-a", seed)
    made = add("vit-a", 3)
    for path in Store(results).folder(made.run_id).glob("*.json"):
        path.rename(path.with_suffix(".away"))
    if what == "code":
        save(results, made, code={**made.code, "semantic_sha256": "4" * 64})
    else:
        save(results, made, identity=identity(made, **{what: "other"}))
    collection = collect([results], tasks)
    (left,) = collection.exclusions
    assert left.kind == "mixed" and f"other {what}" in left.reason and "seed 3" in left.what
    assert [run.seed for run in collection.cells[next(iter(collection.cells))]] == [0, 1, 2]


def test_swapped_labels_are_found_where_others_have_the_dataset(results, synthetic, add, tasks):
    add("vit-a", 0), add("vit-b", 0)
    arrays = synthetic.cls_predictions("vit-c", "breastmnist", 0, cases=40)
    arrays["test_label"] = arrays["test_score"].argmax(axis=1)
    made = synthetic.record(arrays, encoder="vit-c")
    Store(results).save(made, arrays)
    (left,) = collect([results], tasks).exclusions
    assert "test cases or labels" in left.reason and left.exit_code == 4


def test_what_is_left_out_does_not_depend_on_the_order_of_files(results, tmp_path, add, tasks):
    made = [add(encoder, seed) for encoder in ("vit-a", "vit-b") for seed in range(2)]
    add("vit-c", 0, like=("vit-a", 0))
    halves = (tmp_path / "one", tmp_path / "two")
    for number, path in enumerate(sorted((results / "runs").glob("??/*"))):
        target = halves[number % 2] / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    forward, backward = (collect(order, tasks) for order in (halves, halves[::-1]))
    assert forward.exclusions == backward.exclusions
    assert [r.sha256 for r in forward.runs] == [r.sha256 for r in backward.runs]
    assert len(forward.runs) == len(made) - 1


def test_a_warm_cache_recomputes_nothing_and_still_sees_tampering(
    results, tmp_path, add, tasks, monkeypatch
):
    made = add()
    cache = Cache(tmp_path / "cache")
    cold = collect([results], tasks, cache=cache)
    monkeypatch.setattr(
        "omnibench_leaderboard.evidence.recompute", lambda *_: pytest.fail("computed again")
    )
    assert collect([results], tasks, cache=cache).runs == cold.runs
    npz = Store(results).folder(made.run_id) / f"{made.predictions['sha256']}.npz"
    npz.write_bytes(npz.read_bytes() + b"\0")
    (left,) = collect([results], tasks, cache=cache).exclusions
    assert left.kind == "unverified" and "predictions have digest" in left.reason


def test_a_damaged_cache_entry_is_computed_again(results, tmp_path, add, tasks):
    add()
    cache = Cache(tmp_path / "cache")
    first = collect([results], tasks, cache=cache)
    (entry,) = (tmp_path / "cache").rglob("*.answer")
    whole = entry.read_bytes()
    for damaged in (b"{", b"", whole.replace(b'"cases": 40', b'"cases": 41'), whole[:-1]):
        assert damaged != whole
        entry.write_bytes(damaged)
        assert collect([results], tasks, cache=cache).runs == first.runs
        assert entry.read_bytes() == whole


def test_answers_are_kept_for_one_version_of_the_code_only(tmp_path, monkeypatch):
    package = tmp_path / "scoring_of_a_stranger"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "metric.py").write_text("half = 0.5")
    monkeypatch.syspath_prepend(tmp_path)
    first = source_digest("scoring_of_a_stranger")
    (package / "metric.py").write_text("half = 0.6")
    source_digest.cache_clear()
    assert source_digest("scoring_of_a_stranger") != first


def test_a_rerun_by_maintainers_raises_the_evidence_of_clean_code(results, tmp_path, add, tasks):
    add("vit-a", 0), add("vit-b", 0, code={"dirty": True, "semantic_sha256": ""}), add("vit-c", 0)
    own = tmp_path / "own"
    for encoder in ("vit-a", "vit-b"):
        add(encoder, 0, folder=own, timing={"ended": "2027-01-01T00:00:00+00:00"})
    add("vit-c", 0, folder=own, skill=0.0)
    runs = collect([results], tasks, confirm=[own]).runs
    assert {run.record.label: run.level for run in runs} == {"vit-a": 2, "vit-b": 1, "vit-c": 1}


def test_two_encoders_of_one_label_are_told_apart(results, add, tasks):
    made = add("vit-a", 0)
    other = add("vit-b", 0)
    save(results, other, label="vit-a", timing={"ended": "9"}, identity=other.identity)
    labels = sorted(collect([results], tasks).labels.values())
    assert "vit-a" in (made.label, *labels) and len(set(labels)) == 2
