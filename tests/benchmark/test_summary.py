from __future__ import annotations

import dataclasses

import pytest

from omnibench.cards import PublishedValue
from omnibench.records import RunRecord
from omnibench.summary import as_json, summarise

CELL = PublishedValue(
    source="Paper, Table 3",
    encoder="vit",
    task="cls",
    dataset="set",
    metric="f1_macro",
    printed_metric="F1",
    value=87.32,
    sd=3.72,
    tuning="full",
)


def record(seed: int = 0, value: float = 0.5, **changes) -> RunRecord:
    identity = {
        "encoder": {"name": "vit", "weights": "official"},
        "dataset": {"name": "set", "limit": 0},
        "task": {"name": "cls", "recipe": "paper", "variant": ""},
        "tuning": "full",
        "seed": seed,
    }
    metric = {"value": value, "unit": "fraction", "higher_is_better": True}
    base = RunRecord(
        identity=identity,
        status="complete",
        label="vit",
        metrics={"accuracy": metric, "f1_macro": metric},
        predictions={"sha256": "x"},
        cost={"seconds": 1.0, "peak_memory_bytes": 10, "params_total": 1, "params_trainable": 1},
    )
    return dataclasses.replace(base, **changes)


def test_mean_and_sample_sd_over_seeds_in_percent():
    summary = summarise([(record(0, 0.5), "a"), (record(1, 0.7), "b")], [], "f1_macro")
    row = summary.rows[0]
    assert row.id == "f1_macro" and row.mean == pytest.approx(60)
    assert row.sd == pytest.approx(14.1421356)
    assert summary.seeds == (0, 1) and summary.records == ("a", "b")


def test_one_run_has_no_standard_deviation():
    row = summarise([(record(), "a")], [], "f1_macro").rows[0]
    assert row.sd is None


def test_the_published_value_stands_beside_the_same_metric_only():
    summary = summarise([(record(), "a")], [CELL], "f1_macro")
    shown = {row.id: row.published for row in summary.rows}
    assert shown == {"f1_macro": ("87.32 ± 3.72 (Paper, Table 3)",), "accuracy": ()}


@pytest.mark.parametrize(
    ("where", "change", "reason"),
    [
        ("encoder", {"weights": "random"}, "not the published weights"),
        ("dataset", {"limit": 9}, "saw 9 images a split"),
        ("task", {"recipe": "quick"}, "recipe paper, this run quick"),
    ],
)
def test_a_value_that_is_not_comparable_says_why(where, change, reason):
    identity = record().identity
    changed = record(identity={**identity, where: {**identity[where], **change}})
    summary = summarise([(changed, "a")], [CELL], "f1_macro")
    assert all(not row.published for row in summary.rows)
    assert any(reason in note and "Table 3" in note for note in summary.notes)


def test_unverified_data_are_not_compared():
    changed = record(dataset={"facts": {"unverified": "true"}})
    notes = summarise([(changed, "a")], [CELL], "f1_macro").notes
    assert any("not the published files" in note for note in notes)


def test_a_changed_field_a_missing_metric_and_the_values_own_reason_are_said():
    notes = summarise([(record(changes={"lr": "1"}), "a")], [CELL], "f1_macro")
    assert "this run changed lr" in notes.notes[-1] and notes.recipe == "paper with lr=1"
    other = dataclasses.replace(CELL, metric="auc")
    assert "auc was not computed" in summarise([(record(), "a")], [other], "x").notes[-1]
    own = dataclasses.replace(CELL, reason="it counts the background")
    assert "it counts the background" in summarise([(record(), "a")], [own], "x").notes[-1]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("code", {"code": {"semantic_sha256": "b"}}),
        ("packages", {"environment": {"packages_sha256": "b"}}),
    ],
)
def test_seeds_of_other_software_are_left_out_and_named(what, change):
    runs = [(record(seed), "a") for seed in range(2)]
    runs += [(record(2, **change), "c")]
    for order in (runs, runs[::-1]):
        summary = summarise(order, [], "f1_macro")
        assert sorted(summary.seeds) == [0, 1] and len(summary.rows[0].values) == 2
        assert summary.notes[0] == (
            f"MIXED_CODE: seeds 2 were run by other {what} than the 2 shown and are left out; "
            "--results DIR runs all anew"
        )
    later = record(2, timing={"ended": "2027"}, **change)
    assert summarise([runs[0], (later, "c")], [], "f1_macro").seeds == (2,)
    assert not any("MIXED" in note for note in summarise(runs[:2], [], "f1_macro").notes)


def test_a_metric_made_with_different_files_is_said():
    metric = {"value": 0.5, "unit": "fraction", "higher_is_better": True}
    runs = [
        (record(seed, metrics={"meteor": metric | {"resource": name}, "bleu": metric}), name)
        for seed, name in enumerate(("WordNet 3.0", "WordNet 3.1"))
    ]
    told = [note for note in summarise(runs, [], "bleu").notes if "MIXED RESOURCES" in note]
    assert told == ["MIXED RESOURCES: meteor was computed with different files"]
    assert not any("MIXED" in note for note in summarise(runs[:1], [], "bleu").notes)


def test_what_a_task_flags_is_shown_once():
    flagged = {"flags": ["CONSTANT: x"]}
    runs = [(record(0, details=flagged), "a"), (record(1, details=flagged), "b")]
    assert summarise(runs, [], "f1_macro").notes.count("CONSTANT: x") == 1


def test_failed_seeds_are_listed_and_do_not_enter_the_mean():
    failed = record(1, status="failed", metrics={}, failure={"kind": "oom", "message": "no room"})
    summary = summarise([(record(0, 0.5), "a"), (failed, "b")], [], "f1_macro")
    assert summary.failed == {1: {"kind": "oom", "message": "no room"}}
    assert summary.rows[0].values == (50.0,) and summary.exit_code == 1
    assert as_json(summary)["failed"] == {"1": {"kind": "oom", "message": "no room"}}


def test_a_failed_first_seed_does_not_hide_the_published_value():
    failed = record(0, status="failed", metrics={}, failure={"kind": "oom", "message": "m"})
    summary = summarise([(failed, "a"), (record(1), "b")], [CELL], "f1_macro")
    assert summary.rows[0].published


@pytest.mark.parametrize(
    ("kind", "code"),
    [("nan_loss", 1), ("bug", 1), ("usage", 2), ("plugin", 3), ("integrity", 4), ("setup", 5)],
)
def test_each_kind_of_failure_has_its_exit_code(kind, code):
    failed = record(0, status="failed", metrics={}, failure={"kind": kind, "message": "m"})
    assert summarise([(failed, "a")], [], "f1_macro").exit_code == code
