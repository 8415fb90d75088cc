"""Encoders on one dataset: verdicts, families, flags, and the same bytes every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omnibench.errors import UsageError
from omnibench_leaderboard.stats import ranks
from omnibench_leaderboard.stats.cells import Cases, Cell
from omnibench_leaderboard.stats.classification import from_scores
from omnibench_leaderboard.stats.comparison import Comparison, decide
from omnibench_leaderboard.stats.crossed import crossed_means
from omnibench_leaderboard.stats.equivalence import margin
from omnibench_leaderboard.stats.flags import Code, Flag, Verdict
from omnibench_leaderboard.stats.panel import Panel
from omnibench_leaderboard.stats.permutation import McNemar, Permutation
from omnibench_leaderboard.stats.statistic import CaseMeans

CASES = Cases.of(range(600))
HARDNESS = np.random.default_rng(0).normal(size=600)


def right(level: float, seed: int, cases: int = 600) -> np.ndarray[Any, Any]:
    """Return which cases a run of some level gets right."""
    noise = np.random.default_rng(seed).normal(size=cases)
    return (level + HARDNESS[:cases] + 0.3 * noise > 0).astype(float)


def cell(encoder: str, level: float, seeds: int | tuple[int, ...] = 5, **more: Any) -> Cell:
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else seeds
    # Runs differ, and two encoders of one level differ too.
    salt = sum(map(ord, encoder))
    scores = [right(level + 0.02 * (s % 3), 1000 * salt + s) for s in chosen]
    return Cell(encoder=encoder, seeds=chosen, statistic=CaseMeans(scores), **more)


def panel(*cells: Cell, metric: str = "accuracy", **more: Any) -> Panel:
    return Panel(metric, cells, CASES, **more)


def verdicts(rows: list[Comparison]) -> dict[str, Verdict]:
    return {row.encoder: row.verdict for row in rows}


def test_better_worse_and_not_separated_against_a_reference() -> None:
    found = panel(cell("ref", 0.5), cell("up", 0.9), cell("down", 0.1), cell("equal", 0.5))
    rows = found.against("ref")
    assert verdicts(rows)["up"] is Verdict.BETTER
    assert verdicts(rows)["down"] is Verdict.WORSE
    assert verdicts(rows)["equal"] in (Verdict.NOT_SEPARATED, Verdict.EQUIVALENT)
    assert {(row.family, row.correction) for row in rows} == {(3, "holm")}
    for row in rows:
        assert row.p is not None and row.p_adjusted is not None and row.detectable is not None
        assert 0 < row.p <= row.p_adjusted <= 1
        assert row.seeds == (0, 1, 2, 3, 4) and row.units == 600
        assert row.interval is not None and row.interval[0] < row.interval[1]
        assert row.seeds_only is not None and row.effect is not None


def test_a_difference_is_the_crossed_one_of_its_cells() -> None:
    a, b = cell("a", 0.9), cell("b", 0.5)
    row = panel(b, a).against("b")[0]
    assert isinstance(a.statistic, CaseMeans) and isinstance(b.statistic, CaseMeans)
    expected = crossed_means(a.statistic.scores - b.statistic.scores)
    assert (row.estimate.value, row.estimate.se) == (expected.value, expected.se)
    assert row.estimate.value == pytest.approx(np.mean(a.values) - np.mean(b.values))


def test_many_cases_and_little_noise_make_encoders_equivalent() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(4000)
    runs = [[base + 0.01 * rng.normal(size=4000) for _ in range(5)] for _ in range(2)]
    cells = [
        Cell(encoder=name, seeds=tuple(range(5)), statistic=CaseMeans(scores))
        for name, scores in zip("ab", runs, strict=True)
    ]
    row = Panel("dice_fg_image@448", cells, Cases.of(range(4000))).against("b")[0]
    assert (row.margin, row.verdict, row.within_margin) == (0.005, Verdict.EQUIVALENT, True)
    assert row.tost_p is not None and row.tost_p < 0.05


def test_a_small_sure_lead_is_better_but_within_the_margin() -> None:
    """statistics.md 1.2: +0.09 points can be both."""
    rng = np.random.default_rng(1)
    base = rng.random(4000)
    cells = [
        Cell(
            encoder=name,
            seeds=tuple(range(5)),
            statistic=CaseMeans([base + gain + 0.01 * rng.normal(size=4000) for _ in range(5)]),
        )
        for name, gain in (("a", 0.002), ("b", 0.0))
    ]
    row = Panel("dice_fg_image@448", cells, Cases.of(range(4000))).against("b")[0]
    assert (row.verdict, row.within_margin) == (Verdict.BETTER, True)


def test_lower_can_be_better() -> None:
    found = panel(cell("ref", 0.5), cell("up", 0.9), metric="error", higher_is_better=False)
    row = found.against("ref")[0]
    assert row.estimate.value > 0
    assert (row.verdict, row.margin, row.tost_p) == (Verdict.WORSE, None, None)


@pytest.mark.parametrize(
    ("seeds", "code", "interval", "testable"),
    [
        (1, Code.N1, True, False),
        (2, Code.N2, False, False),
        (3, Code.LOW_N, True, True),
        (4, Code.LOW_N, True, True),
        (5, None, True, True),
    ],
)
def test_what_so_many_seeds_allow(
    seeds: int, code: Code | None, interval: bool, testable: bool
) -> None:
    """statistics.md 1.4."""
    found = panel(cell("ref", 0.2, seeds), cell("up", 1.2, seeds))
    row, standing = found.against("ref")[0], found.standing("up")
    assert (row.interval is not None, standing.interval is not None) == (interval, interval)
    assert (row.p is not None, row.verdict is Verdict.BETTER) == (testable, testable)
    assert (standing.sd is not None) == (seeds > 2)
    codes = {flag.code for flag in row.flags} - {Code.CLUSTER_UNKNOWN, Code.ONE_HEAD}
    assert codes == ({code} if code else set())


def test_a_task_without_seed_noise_is_tested_over_cases() -> None:
    found = panel(cell("a", 0.2, 1, deterministic=True), cell("b", 1.2, 1, deterministic=True))
    row = found.against("a")[0]
    assert row.verdict is Verdict.BETTER
    assert row.flags == (Flag(Code.CLUSTER_UNKNOWN),)
    assert row.estimate.df == 599


def test_identical_scores_are_said_not_tested() -> None:
    a = cell("a", 0.5)
    twin = Cell(encoder="twin", seeds=a.seeds, statistic=a.statistic)
    row = panel(a, twin).against("a")[0]
    assert (row.verdict, row.p, row.interval) == (Verdict.NOT_TESTABLE, None, None)
    assert Flag(Code.IDENTICAL) in row.flags
    assert row.family == 0


def test_a_difference_without_variance_has_no_p_and_no_interval() -> None:
    none = Cell(encoder="none", seeds=(0, 1, 2), statistic=CaseMeans(np.zeros((3, 600))))
    all_right = Cell(encoder="all", seeds=(0, 1, 2), statistic=CaseMeans(np.ones((3, 600))))
    found = panel(none, all_right)
    row = found.against("none")[0]
    assert (row.verdict, row.p, row.interval) == (Verdict.NOT_TESTABLE, None, None)
    assert Flag(Code.ZERO_VAR) in row.flags
    # Wilson's interval of 600 of 600.
    low, high = found.standing("all").interval or (0.0, 0.0)
    assert (low, high) == pytest.approx((600 / (600 + 1.959964**2), 1.0))


def test_encoders_without_common_seeds_are_not_compared() -> None:
    row = panel(cell("a", 0.5, (0, 1, 2)), cell("b", 0.9, (5, 6, 7))).against("a")[0]
    assert (row.verdict, row.seeds, row.p) == (Verdict.NOT_TESTABLE, (), None)
    assert Flag(Code.NO_COMMON_SEEDS) in row.flags
    assert row.estimate.value > 0


def test_only_common_seeds_are_compared() -> None:
    row = panel(cell("a", 0.5, (0, 1, 2, 3, 4)), cell("b", 0.9, (4, 2, 3))).against("a")[0]
    assert row.seeds == (2, 3, 4)
    assert Flag(Code.MISSING_RUNS, "3/5") in row.flags


def test_a_lead_with_failed_runs_is_not_believed_unless_it_survives_chance() -> None:
    """statistics.md 1.4."""
    ref, up = cell("ref", 0.2, 5), cell("up", 1.2, 4, failed=(4,))
    assert panel(ref, up).against("ref")[0].verdict is Verdict.NOT_TESTABLE
    low = panel(ref, up, chance=0.0).against("ref")[0]
    assert low.verdict is Verdict.NOT_TESTABLE
    high = panel(ref, up, chance=0.7).against("ref")[0]
    assert high.verdict is Verdict.BETTER
    # A failed run of the loser takes nothing from the winner.
    row = panel(cell("ref", 0.2, 9, failed=(9,)), cell("up", 1.2, 10)).against("ref")[0]
    assert row.verdict is Verdict.BETTER
    assert Flag(Code.MISSING_RUNS, "9/10") in row.flags


def test_flags_of_the_table_forbid_verdicts() -> None:
    found = panel(cell("ref", 0.2), cell("up", 1.2), flags=[Flag(Code.MIXED_CODE)])
    assert found.against("ref")[0].verdict is Verdict.NOT_TESTABLE


def test_clusters_widen_the_interval_and_are_counted() -> None:
    groups = np.arange(600) // 20
    effects = np.random.default_rng(3).normal(size=(2, 30))[:, groups]
    cells = [
        Cell(
            encoder=name,
            seeds=tuple(range(5)),
            statistic=CaseMeans([(right(0.5, s) + own > 0.5).astype(float) for s in range(5)]),
        )
        for name, own in zip("ab", effects, strict=True)
    ]
    single = Panel("accuracy", cells, CASES).against("a")[0]
    clustered = Panel("accuracy", cells, Cases.of(range(600), groups)).against("a")[0]
    assert (single.units, clustered.units) == (600, 30)
    assert Flag(Code.CLUSTER_UNKNOWN) in single.flags
    assert Flag(Code.CLUSTER_UNKNOWN) not in clustered.flags
    assert single.estimate.se is not None and clustered.estimate.se is not None
    assert clustered.estimate.se > 1.5 * single.estimate.se
    assert clustered.estimate.value == pytest.approx(single.estimate.value)


def test_all_pairs_are_exploratory_and_tie_with_the_best() -> None:
    found = panel(cell("a", 0.9), cell("b", 0.9), cell("c", 0.1))
    pairs = found.all_pairs()
    assert {(row.family, row.correction) for row in pairs} == {(3, "bh")}
    assert found.tied_with_best(pairs) == {"a", "b"}


def test_mcnemar_sign_flips_and_exchanges_are_chosen_by_what_is_there() -> None:
    one = panel(cell("a", 0.2, 1), cell("b", 0.9, 1))
    mcnemar = one.per_case("b", "a")
    assert isinstance(mcnemar, McNemar)
    assert mcnemar.p < 0.05
    several = panel(cell("a", 0.2), cell("b", 0.9)).per_case("b", "a")
    assert isinstance(several, Permutation)
    assert (several.p, several.at_floor) == (1e-4, True)
    groups = Cases.of(range(600), np.arange(600) // 60)
    clustered = Panel("accuracy", [cell("a", 0.2), cell("b", 0.9)], groups).per_case("b", "a")
    assert isinstance(clustered, Permutation)
    assert (clustered.exact, clustered.floor) == (True, 2**-9)
    observed = np.mean(cell("b", 0.9).values) - np.mean(cell("a", 0.2).values)
    assert clustered.statistic == pytest.approx(observed)


def f1_cells() -> list[Cell]:
    labels = np.arange(120) % 3
    cells = []
    for index, name in enumerate("ab"):
        runs = []
        for seed in range(5):
            scores = np.random.default_rng([index, seed]).normal(size=(120, 3))
            scores[np.arange(120), labels] += 1 + index
            runs.append(scores)
        statistic = from_scores("f1_macro", runs, labels)
        assert statistic is not None
        cells.append(Cell(encoder=name, seeds=tuple(range(5)), statistic=statistic))
    return cells


def test_a_metric_that_is_no_mean_is_compared_by_shared_resamples() -> None:
    found = Panel("f1_macro", f1_cells(), Cases.of(range(120)))
    row = found.against("a")[0]
    assert row.verdict is Verdict.BETTER
    gaps = found.resampled("b") - found.resampled("a")
    assert gaps.shape == (2000, 5)
    percentile = found.hierarchical("b", "a")
    assert percentile is not None and row.interval is not None
    assert percentile[0] < row.estimate.value < percentile[1]
    exchanged = found.per_case("b", "a")
    assert isinstance(exchanged, Permutation)
    assert (exchanged.p, exchanged.exact) == (1e-4, False)


def test_the_same_cells_give_the_same_bytes_in_any_order() -> None:
    cells = f1_cells()
    rows = [
        Panel("f1_macro", order, Cases.of(range(120))).against("a")[0]
        for order in (cells, cells[::-1], f1_cells())
    ]
    assert rows[0] == rows[1] == rows[2]


def test_another_encoder_changes_no_interval() -> None:
    a, b = f1_cells()
    more = Cell(encoder="c", seeds=a.seeds, statistic=a.statistic.take([1, 2, 3, 4, 0]))
    first = Panel("f1_macro", [a, b], Cases.of(range(120))).against("a")[0]
    second = Panel("f1_macro", [a, more, b], Cases.of(range(120))).against("a")[1]
    assert (first.interval, first.p) == (second.interval, second.p)


def test_kept_bootstraps_are_used_again() -> None:
    kept: dict[str, np.ndarray[Any, Any]] = {}
    first = Panel("f1_macro", f1_cells(), Cases.of(range(120)), resampled=kept).against("a")
    assert set(kept) == {"a", "b"}
    kept["b"] = kept["b"] + np.linspace(-1, 1, 2000)[:, None]
    second = Panel("f1_macro", f1_cells(), Cases.of(range(120)), resampled=kept).against("a")
    assert first[0].estimate.se is not None and second[0].estimate.se is not None
    assert second[0].estimate.se > 2 * first[0].estimate.se


def test_ranks_over_cases_and_seeds_follow_clear_differences() -> None:
    found = [panel(cell("a", 0.9), cell("b", 0.9), cell("c", 0.1)) for _ in range(3)]
    full = np.array([[np.mean(p.cells[name].values) for name in "abc"] for p in found])
    resampled = np.stack(
        [np.stack([p.resampled(n).mean(axis=1) for n in "abc"], axis=1) for p in found], axis=1
    )
    by_cases = ranks.by_cases(full, resampled)
    assert by_cases.low.tolist()[2] == by_cases.high.tolist()[2] == 3
    assert by_cases.first[2] == 0 and by_cases.first.sum() == pytest.approx(1)
    seeds = [np.array([p.cells[name].values for name in "abc"]).T for p in found]
    by_seeds = ranks.by_seeds(seeds)
    assert by_seeds.rank.tolist() == by_cases.rank.tolist()
    assert by_seeds.tau is not None and by_seeds.tau > 0


def test_tests_leave_ranks_open() -> None:
    better = np.zeros((3, 3), dtype=bool)
    better[0, 2] = better[1, 2] = True
    assert ranks.statistical_ranks(better) == [(1, 2), (1, 2), (3, 3)]
    means = {"b": 0.91, "a": 0.90, "c": 0.5, "d": 0.6}
    assert ranks.display_order(means, {"a", "b"}) == ["a", "b", "d", "c"]


def test_verdicts_come_in_their_order() -> None:
    assert decide(1, None, 0.001, ()) is Verdict.NOT_TESTABLE
    assert decide(1, 0.01, 0.001, [Flag(Code.N1)]) is Verdict.NOT_TESTABLE
    assert decide(1, 0.01, 0.001, ()) is Verdict.BETTER
    assert decide(-1, 0.01, 0.001, ()) is Verdict.WORSE
    assert decide(-1, 0.05, 0.001, ()) is Verdict.EQUIVALENT
    assert decide(1, 0.05, 0.05, ()) is Verdict.NOT_SEPARATED
    assert decide(1, 0.05, None, [Flag(Code.LOW_N)]) is Verdict.NOT_SEPARATED


def test_margins_are_those_of_the_protocol() -> None:
    """design.md 5.5."""
    assert margin("f1_macro", 500) == margin("miou_dataset@448", 3000) == 0.005
    assert margin("accuracy", 499) == margin("auc_ovr_macro", 156) == 0.010
    assert margin("bleu", 3000) is margin("meteor_nosyn", 10) is margin("loss", 999) is None


def test_wrong_panels_are_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean up"):
        panel(cell("ref", 0.5), cell("up", 0.9)).against("upp")
    with pytest.raises(UsageError, match="only 'ref' is there"):
        panel(cell("ref", 0.5)).against("ref")
    with pytest.raises(UsageError, match="two cells of ref under accuracy"):
        panel(cell("ref", 0.5), cell("ref", 0.9))
    with pytest.raises(UsageError, match="other cases than the 10"):
        Panel("accuracy", [cell("ref", 0.5)], Cases.of(range(10)))
    with pytest.raises(UsageError, match="no common seed"):
        panel(cell("a", 0.5, (0,)), cell("b", 0.5, (1,))).per_case("a", "b")
    with pytest.raises(UsageError, match="no encoder has finished runs with accuracy"):
        panel()
