"""Printed numbers against synthetic records: one that matches, one that differs, and the rest."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pytest
from made_up_study import printed, registry

from omnibench.cards import PublishedValue
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.reproduce import grid
from omnibench_leaderboard.reproduce.judging import judge, of_cells
from omnibench_leaderboard.reproduce.verdict import Outcome

CASES = 12_000  # so many that seeds differ by tenths of a point


@pytest.fixture
def own(results, add) -> float:
    """Five runs of `vit-a`; the mean accuracy in percent."""
    records = [add("vit-a", seed, cases=CASES) for seed in range(5)]
    return 100 * statistics.fmean(r.metrics["accuracy"]["value"] for r in records)


def verdicts(results: Path, *values: PublishedValue, failed=None):
    known = registry(*values)
    study = grid.find(known, "paper-2026")
    return judge(study, collect([results], known), known, failed or {})


def test_every_kind_of_verdict(results, own):
    rows = verdicts(
        results,
        printed(own),
        printed(own + 5),
        printed(own, sd=9.0),
        printed(own, recipes=("released",)),
        printed(own, encoder="vit-b"),
        printed(own, tuning="head"),
    )
    assert [row.outcome.value for row in rows] == [
        "matches",
        "differs",
        "undecided",
        "not comparable",
        "not run",
        "not run",
    ]
    assert rows[0].mean == pytest.approx(own) and rows[0].n == 5 and rows[0].margin == 0.5
    assert rows[3].reason == "it follows recipe released, this column paper"
    # The first four are numbers of one cell, which is what the gravest of them is.
    assert of_cells(rows) == {Outcome.DIFFERS: 1, Outcome.NOT_RUN: 2}


def test_runs_that_are_no_reproduction_are_not_compared(results, add):
    known = add("vit-a").identity
    untrained = {**known["encoder"], "name": "vit-b", "weights": "random"}
    add("vit-b", identity={**known, "encoder": untrained})
    add("vit-c", changes={"lr": "0.1"})
    add("vit-d", recipe="quick")
    names = ("vit-b", "vit-c", "vit-d")
    rows = verdicts(results, *(printed(80.0, encoder=name) for name in names))
    assert {row.outcome for row in rows} == {Outcome.NOT_COMPARABLE}
    assert [row.reason.split(",")[0] for row in rows] == [
        "its weights are random",
        "this column changed lr",
        "it follows recipe paper",
    ]


def test_a_printed_number_that_says_why_it_is_not_comparable_is_believed(results, own):
    (row,) = verdicts(results, printed(own, reason="another metric"))
    assert (row.outcome, row.reason) == (Outcome.NOT_COMPARABLE, "another metric")


def test_a_match_is_not_believed_where_runs_failed(results, add, own):
    add("vit-a", 5, failure={"kind": "nan_loss"}, status="failed", metrics={}, predictions=None)
    matching, differing = verdicts(results, printed(own), printed(own + 5))
    assert matching.outcome is Outcome.UNDECIDED and "failed runs: 1" in matching.reason
    assert differing.outcome is Outcome.DIFFERS


def test_one_run_and_a_number_without_sd(results, add, own):
    add("vit-b", 0, cases=CASES)
    single, value = verdicts(results, printed(80.0, encoder="vit-b"), printed(own + 20, sd=None))
    assert single.outcome is Outcome.UNDECIDED and "one run" in single.reason and single.sd is None
    assert value.outcome is Outcome.DIFFERS


def test_a_pooled_number_needs_runs_on_every_dataset(results, add):
    pool = printed(80.0, dataset="mean", pooled=("one", "two"), table=11, sd=9.0)
    feeds = [printed(80.0, dataset=name) for name in pool.pooled]
    means = []
    for seed in range(3):
        means.append(add("vit-a", seed, "one", CASES).metrics["accuracy"]["value"])
    add("vit-a", 0, "two", CASES)
    row = verdicts(results, *feeds, pool)[-1]
    assert row.outcome is Outcome.NOT_RUN and "two lack them" in row.reason
    means += [add("vit-a", s, "two", CASES).metrics["accuracy"]["value"] for s in (1, 2)]
    known = registry(*feeds, dataclasses.replace(pool, value=round(100 * 0.9, 2)))
    (row,) = judge(grid.find(known, "paper-2026", [11]), collect([results], known), known, {})
    assert row.n == 6 and row.mean is not None and row.sd is not None
    assert row.outcome is Outcome.DIFFERS


def test_printed_sizes_of_splits_are_held_against_the_card(results, add):
    add()
    size = {"task": "", "encoder": "", "metric": "", "tuning": "", "sd": None}
    rows = verdicts(
        results,
        printed(546, printed_metric="train", **size),
        printed(155, printed_metric="test", **size),
        printed(1, printed_metric="test", dataset="elsewhere", **size),
    )
    assert [row.outcome.value for row in rows] == ["matches", "differs", "not comparable"]
    assert not of_cells(rows)


def test_why_a_run_failed_is_said_beside_its_numbers(results, add):
    add()
    value = printed(80.0, encoder="vit-b")
    (row,) = verdicts(results, value, failed={grid.key_of(value): "no weights"})
    assert (row.outcome, row.reason) == (Outcome.NOT_RUN, "no weights")
