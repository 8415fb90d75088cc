"""The board: what is said of every cell, and that equal records give equal bytes."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest
from toy_requests import toy_request

import omnibench_plugins.published
import omnibench_plugins.tasks
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench.store import Store
from omnibench_leaderboard.board_json import from_json, to_json
from omnibench_leaderboard.build import build
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.collect import collect

VERDICTS = {"better", "worse", "equivalent", "not separated", "not testable"}


@pytest.fixture
def built(results, tasks):
    """Build the board of the results folder."""
    return lambda **options: build(collect([results], tasks), tasks, **options)


def cells(column):
    return {cell.encoder: cell for cell in column.cells}


def grid(add, encoders=("vit-a", "vit-b", "vit-c"), datasets=("breastmnist",), seeds=5, **options):
    for number, encoder in enumerate(encoders):
        for dataset in datasets:
            for seed in range(seeds):
                skill = 4.0 * number - 2.0
                add(encoder, seed, dataset, skill=skill, **{"cases": 60, **options})


def test_a_column_has_one_metric_and_only_the_headline_is_judged(add, built):
    grid(add)
    board = built()
    assert board.columns[0].metric == "f1_macro"
    assert len({c.name for c in board.columns}) == len(board.columns) == 5
    assert [c.metric for c in board.headlines] == ["f1_macro"]
    for column in board.columns[1:]:
        assert all(c.interval is None and c.against_best is None for c in column.cells)


def test_a_clear_gap_is_a_verdict_and_ranks_follow_from_it(add, built):
    grid(add)
    board = built(reference="vit-b")
    found = cells(board.headlines[0])
    assert board.headlines[0].best == "vit-c" and found["vit-c"].against_best is None
    assert found["vit-a"].against_reference.verdict == "worse"
    assert found["vit-b"].against_reference is None
    assert not found["vit-a"].tied and found["vit-a"].rank_interval == (3, 3)
    assert found["vit-a"].against_best.difference < 0
    assert found["vit-a"].against_best.family == 3
    assert found["vit-a"].against_reference.family == 2
    low, high = found["vit-a"].interval
    assert low < found["vit-a"].mean < high


def test_a_comparison_with_the_best_is_the_mirror_of_one_with_the_reference(add, built):
    grid(add)
    best, reference = (
        cells(built(reference="vit-c").headlines[0])["vit-a"].against_best,
        cells(built(reference="vit-c").headlines[0])["vit-a"].against_reference,
    )
    for name in ("difference", "p", "effect", "detectable"):
        assert getattr(best, name) == pytest.approx(getattr(reference, name), rel=1e-12)
    assert best.interval == pytest.approx(reference.interval) and best.other == "vit-c"


def test_equal_encoders_are_never_bold_alone(add, built):
    grid(add, encoders=("vit-a",))
    for seed in range(5):
        add("vit-b", seed, cases=60, skill=-2.0)
    (column,) = built().headlines
    assert all(cell.tied for cell in column.cells)
    assert {cell.rank_interval for cell in column.cells} == {(1, 2)}
    assert [cell.encoder for cell in column.cells] == ["vit-a", "vit-b"]


def test_one_encoder_and_one_seed_get_an_interval_over_cases_and_a_flag(add, built):
    add("vit-a", 0, cases=60)
    (cell,) = built().headlines[0].cells
    assert cell.sd is None and cell.n == 1 and cell.against_best is None
    assert "N1" in cell.flags and cell.interval[0] < cell.mean < cell.interval[1]


def test_single_seeds_of_two_encoders_cannot_be_tested(add, built):
    add("vit-a", 0, cases=60, skill=-2.0), add("vit-b", 0, cases=60, skill=6.0)
    found = cells(built().headlines[0])["vit-a"]
    assert found.against_best.verdict == "not testable" and found.against_best.p is None
    assert found.tied


def test_a_failed_run_blocks_a_lead(results, add, built):
    grid(add, encoders=("vit-a", "vit-b"))
    made = add("vit-c", 0, cases=60, skill=9.0)
    for seed in range(1, 4):
        add("vit-c", seed, cases=60, skill=9.0)
    failed = dataclasses.replace(
        made,
        identity={**made.identity, "seed": 4},
        status="failed",
        metrics={},
        validation={},
        predictions=None,
        failure={"kind": "nan_loss", "message": "nan"},
    )
    Store(results).save(failed, {})
    board = built(reference="vit-a")
    found = cells(board.headlines[0])["vit-c"]
    assert found.missing == (4,) and "MISSING_RUNS 4/5" in found.flags
    assert found.against_reference.verdict == "not testable"
    assert board.missing[0].endswith("seed 4: failed (nan_loss)")


def test_foreign_tasks_are_compared_over_seeds_and_flagged(tmp_path, toy_registry):
    request = toy_request(tmp_path)
    list(execute(plan(request, toy_registry), request))
    board = build(collect([tmp_path / "results"], toy_registry), toy_registry)
    (cell,) = board.headlines[0].cells
    assert board.headlines[0].metric == "accuracy" and "SEEDS_ONLY" in cell.flags
    assert cell.encoder == "toy-encoder+random" and any("RANDOM" in f for f in cell.flags)
    assert dict(board.methods.flags)["SEEDS_ONLY"].startswith("the metric has no form a case")


def test_published_values_are_hollow_and_never_in_a_column_of_another_metric(results, add, tasks):
    add("vit-a", 0)
    registry = Registry.of(omnibench_plugins.tasks, omnibench_plugins.published)
    board = build(collect([results], registry), registry)
    for column in board.columns:
        for row in column.published:
            assert row.metric == column.metric or row.reason.startswith("not comparable, because")
    f1 = board.headlines[0].published
    small = next(row for row in f1 if row.encoder == "omnirad-small")
    assert (small.value, small.sd, small.reason) == (pytest.approx(0.8942), 0.0018, "")
    assert small.source == "OmniRad, Table 3"
    assert build(collect([results], tasks), tasks).headlines[0].published == ()


def test_published_values_beside_another_recipe_say_why_not(results, add):
    made = add("vit-a", 0)
    identity = {**made.identity, "task": {**made.identity["task"], "recipe": "quick"}}
    Store(results).save(
        dataclasses.replace(made, identity=identity, recipe={}), Store(results).predictions(made)
    )
    registry = Registry.of(omnibench_plugins.tasks, omnibench_plugins.published)
    board = build(collect([results], registry), registry)
    quick = next(c for c in board.headlines if c.setting.recipe == "quick")
    assert {row.reason for row in quick.published} == {
        "not comparable, because it follows recipe paper or released, this column quick"
    }
    assert any("never a result" in note for note in quick.notes)


def test_datasets_and_encoders_of_an_incomplete_table_are_named(add, built):
    grid(add, datasets=("breastmnist", "organ-x", "organ-y"), cases=30)
    add("vit-d", 0, "breastmnist", cases=30)
    board = built(reference="vit-a")
    (overall,) = board.overall
    assert overall.datasets == ("breastmnist", "organ-x", "organ-y")
    assert overall.left_out == ("vit-d",) and "INCOMPLETE 1" in overall.flags
    assert [row.encoder for row in overall.standings] == ["vit-c", "vit-b", "vit-a"]
    assert {row.verdict for row in overall.against} == {"not testable"}
    assert all("FEW_DATASETS 3" in row.flags for row in overall.against)
    assert sum(row.first for row in overall.standings) == pytest.approx(1.0)


def test_one_dataset_gives_no_overall_ranking(add, built):
    grid(add)
    assert built().overall == ()


def test_a_board_survives_json_and_its_bytes_do_not_depend_on_cache_or_order(
    results, tmp_path, add, tasks
):
    grid(add, datasets=("breastmnist", "organ-x"), cases=30, seeds=3)
    cache = Cache(tmp_path / "cache")
    one, two = tmp_path / "one", tmp_path / "two"
    texts = []
    for kept in (None, cache, cache):
        board = build(collect([results], tasks, cache=kept), tasks, reference="vit-a", cache=kept)
        texts.append(to_json(board))
    for number, path in enumerate(sorted((results / "runs").glob("??/*"))):
        target = (one, two)[number % 2] / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for folders in ((one, two), (two, one)):
        texts.append(to_json(build(collect(folders, tasks), tasks, reference="vit-a")))
    assert len(set(texts)) == 1
    assert from_json(texts[0]) == board
    assert str(tmp_path) not in texts[0]


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body.update(schema="omnibench.board/3"),
        lambda body: body.pop("columns"),
        lambda body: body.update(extra=1),
        lambda body: body["columns"][0].update(cases="60"),
        lambda body: body["columns"][0]["cells"][0].update(mean=None),
        lambda body: body["columns"][0]["cells"][0].update(runs=99),
    ],
)
def test_json_that_is_no_board_is_refused(add, built, edit):
    add()
    body = json.loads(to_json(built()))
    edit(body)
    with pytest.raises(IntegrityError, match="not a board"):
        from_json(json.dumps(body))


def test_every_cell_has_the_command_that_makes_its_records(results, add, built):
    for seed in range(3):
        add("vit-a", seed)
    made = add("vit-b", 7)
    changed = dataclasses.replace(
        made,
        changes={"lr": "0.1", "max_images": "[60, 20, 40]"},
        identity={
            **made.identity,
            "encoder": {
                **made.identity["encoder"],
                "weights": "random",
                "weights_sha256": "9" * 64,
            },
            "task": {**made.identity["task"], "protocol_sha256": "8" * 64},
            "dataset": {**made.identity["dataset"], "limit": 50},
        },
    )
    Store(results).save(changed, Store(results).predictions(made))
    commands = {c.setting.recipe: c.cells[0].command for c in built().headlines}
    assert commands["paper"].startswith("omnibench run --encoder vit-a --task cls")
    assert "--seeds 3 --device cpu --precision fp32" in commands["paper"]
    words = shlex.split(commands["paper with lr=0.1, max_images=[60, 20, 40]"])
    assert "max_images=[60, 20, 40]" in words and "--random-weights" in words
    assert words[words.index("--seed") + 1] == "7" and words[words.index("--limit") + 1] == "50"


def test_a_metric_that_some_seeds_lack_is_left_out_of_the_cell(results, add, tasks, monkeypatch):
    add("vit-a", 0), add("vit-a", 1)
    collection = collect([results], tasks)
    first, second = collection.runs
    metrics = {k: v for k, v in second.record.metrics.items() if k != "auc"}
    lacking = dataclasses.replace(
        second, record=dataclasses.replace(second.record, metrics=metrics)
    )
    board = build(dataclasses.replace(collection, runs=(first, lacking)), tasks)
    assert "auc" not in {column.metric for column in board.columns}
    (left,) = board.exclusions
    assert left.kind == "metric" and "only 1 of 2 runs" in left.reason


def test_another_headline_can_be_asked_for(add, built):
    grid(add, seeds=3)
    assert [c.metric for c in built(metric="auc").headlines] == ["auc"]
    with pytest.raises(UsageError, match=r"no run has the metric 'acuracy'.*accuracy"):
        built(metric="acuracy")


def test_an_unknown_reference_is_answered_with_the_nearest(add, built):
    add()
    with pytest.raises(
        UsageError, match=r"no encoder .vit-aa. in these results\. Did you mean vit-a"
    ):
        built(reference="vit-aa")


def test_results_of_which_nothing_may_enter_say_why(add, built):
    add("vit-a", 0), add("vit-b", 0, like=("vit-a", 0))
    with pytest.raises(SetupError, match=r"(?s)no record may enter.*equal predictions stand under"):
        built()


def test_verdicts_are_the_five_and_p_is_never_zero(add, built):
    grid(add, datasets=("breastmnist", "organ-x"), cases=40)
    for column in built(reference="vit-b").headlines:
        for cell in column.cells:
            for row in (cell.against_best, cell.against_reference):
                assert row is None or row.verdict in VERDICTS
                assert row is None or row.p is None or row.p > 0
                assert row is None or row.interval is None or row.interval[0] < row.interval[1]
