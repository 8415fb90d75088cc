"""Degenerate input (statistics.md 1.4): flags instead of p = 0, zero widths and silent NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnibench.errors import IntegrityError, UsageError
from omnibench_leaderboard.stats import across, effects, friedman, multiplicity, permutation, ranks
from omnibench_leaderboard.stats.across import compare_across, complete
from omnibench_leaderboard.stats.bayes import signed_rank
from omnibench_leaderboard.stats.cells import Cases, Cell
from omnibench_leaderboard.stats.crossed import crossed_bootstrap, crossed_means
from omnibench_leaderboard.stats.delong import delong
from omnibench_leaderboard.stats.estimate import Estimate
from omnibench_leaderboard.stats.flags import MEANING, Code, Flag, Verdict
from omnibench_leaderboard.stats.hierarchical import hierarchical_interval
from omnibench_leaderboard.stats.rounding import Printed, boxed
from omnibench_leaderboard.stats.statistic import CaseMeans
from omnibench_leaderboard.stats.ttests import (
    Summary,
    one_sample,
    paired,
    single_case,
    student,
    welch,
)

CONSTANT = [0.8] * 5


def test_constant_runs_that_differ_have_no_p() -> None:
    a, b = Summary.of(CONSTANT), Summary.of([0.7] * 5)
    for test in (student(a, b), welch(a, b), paired(CONSTANT, [0.7] * 5), one_sample(a, 0.7)):
        assert (test.t, test.p, test.estimate.interval()) == (None, None, None)
        assert test.estimate.value == pytest.approx(0.1)
        assert Flag(Code.ZERO_VAR) in test.estimate.flags


def test_a_constant_shift_between_varying_runs_has_no_p() -> None:
    a = np.array([0.81, 0.83, 0.79, 0.80, 0.85])
    assert paired(a, a - 0.01).p is None


def test_constant_runs_that_are_equal_are_identical() -> None:
    a = Summary.of(CONSTANT)
    for test in (student(a, a), welch(a, a), paired(CONSTANT, CONSTANT), single_case(a, a.mean)):
        assert test.p is None
        assert Flag(Code.IDENTICAL) in test.estimate.flags


def test_an_enormous_t_has_a_p_above_zero() -> None:
    far = Estimate(value=1.0, se=1e-6)
    p_values = [far.p(), far.tost(2.0), Estimate(value=0.0, se=1e-6).tost(1.0)]
    assert all(p is not None and 0 < p < 1e-100 for p in p_values)


def test_one_run_is_refused_and_sent_to_the_single_case() -> None:
    with pytest.raises(UsageError, match="compare it as a single value"):
        Summary(mean=0.8, sd=0.1, n=1)
    with pytest.raises(UsageError, match="at least two finite values"):
        Summary.of([0.8])
    with pytest.raises(UsageError, match="leave failed runs out"):
        Summary.of([0.8, math.nan, 0.7])
    with pytest.raises(UsageError, match="3 and 2 runs cannot be paired"):
        paired([1.0, 2.0, 3.0], [1.0, 2.0])


def test_printed_sds_that_may_be_zero_decide_nothing() -> None:
    exact = Printed(summary=Summary(mean=90.0, sd=0.0, n=5))
    other = Printed(summary=Summary(mean=80.0, sd=0.0, n=5))
    found = boxed(welch, exact, other)
    assert found.low is None
    assert found.verdict()[0] is Verdict.NOT_TESTABLE


def test_means_that_may_be_equal_have_a_p_up_to_one() -> None:
    a = Printed(summary=Summary(mean=90.01, sd=0.3, n=5))
    b = Printed(summary=Summary(mean=90.00, sd=0.3, n=5))
    found = boxed(welch, a, b)
    assert found.high == pytest.approx(1.0)
    assert found.verdict()[0] is Verdict.NOT_SEPARATED


def test_missing_p_values_are_no_hypotheses() -> None:
    """statsmodels counts a NaN as one: [0.03, NaN, 0.08]."""
    p = [0.01, None, 0.04]
    assert multiplicity.holm(p) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert multiplicity.benjamini_hochberg(p) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert multiplicity.family_size(p) == 2
    assert multiplicity.holm([None, None]) == [None, None]
    assert multiplicity.holm([]) == []


def test_no_rank_test_goes_below_its_floor() -> None:
    for n, floor in {3: 0.25, 4: 0.125, 5: 0.0625, 6: 0.03125, 7: 0.015625, 8: 0.0078125}.items():
        assert permutation.sign_floor(n) == floor
        all_up = across.wilcoxon(np.arange(1, n + 1) / 10)
        assert (all_up.p, all_up.floor) == (floor, floor)
        flipped = permutation.sign_flip(np.arange(1, n + 1) / 10)
        assert (flipped.p, flipped.floor) == (floor, floor)
    many = permutation.sign_flip(np.arange(1, 41) / 10)
    assert (many.p, many.floor, many.exact) == (1e-4, 1e-4, False)


def test_float_noise_is_no_evidence() -> None:
    noise = np.array([1, -2, 3, 4, -5, 6, 7, 8]) * 1e-14
    assert permutation.sign_flip(noise).p == 1.0
    assert across.wilcoxon(noise).p == 1.0


def test_nothing_differs_between_right_answers() -> None:
    found = permutation.mcnemar(0, 0)
    assert (found.p, found.mid_p) == (1.0, 1.0)
    even = permutation.mcnemar(7, 7)
    assert (even.p, even.mid_p) == (1.0, 1.0)


def test_friedman_on_identical_encoders_is_identical() -> None:
    found = friedman.friedman(np.tile(np.arange(8.0)[:, None], 4))
    assert (found.chi2, found.f, found.p) == (None, None, None)
    assert found.flags == (Flag(Code.IDENTICAL),)


def test_perfect_agreement_has_the_exact_permutation_p() -> None:
    """Six datasets, three encoders: the other five must repeat one of 3! orders."""
    scores = np.tile([1.0, 2.0, 3.0], (6, 1))
    found = friedman.friedman(scores)
    assert (found.f, found.p) == (math.inf, pytest.approx(6.0**-5))
    assert found.flags == (Flag(Code.AGREEMENT),)
    assert found.ranks == pytest.approx([3, 2, 1])
    with pytest.raises(UsageError, match="no residual variance"):
        friedman.conover(found)
    tied = friedman.friedman(np.tile([1.0, 1.0, 3.0], (6, 1)))
    assert (tied.f, tied.p) == (math.inf, pytest.approx(3.0**-5))


def test_friedman_names_what_it_cannot_take() -> None:
    with pytest.raises(UsageError, match="two encoders are compared by Wilcoxon"):
        friedman.friedman(np.zeros((8, 2)))
    with pytest.raises(UsageError, match="1 scores are missing"):
        friedman.friedman([[1.0, 2.0, math.nan], [1.0, 2.0, 3.0]])
    few = friedman.friedman(np.random.default_rng(0).normal(size=(4, 3)))
    assert few.flags[0] == Flag(Code.FEW_DATASETS, "4")


def test_five_datasets_have_no_verdict_and_six_may() -> None:
    def verdicts(n: int) -> list[Verdict]:
        scores = {"a": 0.8 + np.arange(n) / 100, "b": 0.5 + np.arange(n) / 1000}
        return [row.verdict for row in compare_across(scores, "b")]

    assert verdicts(5) == [Verdict.NOT_TESTABLE]
    assert verdicts(6) == [Verdict.BETTER]


def test_lower_may_be_better_across_datasets() -> None:
    scores = {"a": 0.8 + np.arange(6) / 100, "b": 0.5 + np.arange(6) / 1000}
    row = compare_across(scores, "b", higher_is_better=False)[0]
    assert (row.verdict, row.losses) == (Verdict.WORSE, 6)


def test_equal_encoders_across_datasets_are_identical_not_tested() -> None:
    scores = {"a": np.arange(8.0), "b": np.arange(8.0), "c": np.arange(8.0) + 0.1}
    rows = {row.encoder: row for row in compare_across(scores, "b", margin=0.5)}
    assert rows["a"].verdict is Verdict.NOT_TESTABLE
    assert Flag(Code.IDENTICAL) in rows["a"].flags
    assert (rows["a"].ties, rows["a"].p_adjusted) == (8, None)
    # The equal encoder is no hypothesis.
    assert rows["c"].family == 1


def test_across_datasets_names_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="no encoder 'c' to compare with; there are a, b"):
        compare_across({"a": [1.0], "b": [1.0]}, "c")
    with pytest.raises(UsageError, match="needs two encoders"):
        compare_across({"a": [1.0]}, "a")
    with pytest.raises(UsageError, match=r"encoders have \[1, 2\] datasets"):
        compare_across({"a": [1.0], "b": [1.0, 2.0]}, "a")
    with pytest.raises(UsageError, match="scores are missing for b"):
        compare_across({"a": [1.0, 2.0], "b": [1.0, math.nan]}, "a")


def test_incomplete_tables_are_cut_never_filled() -> None:
    table = np.ones((8, 5))
    assert complete(table) == (list(range(8)), list(range(5)))
    table[2:, 4] = math.nan
    assert complete(table) == (list(range(8)), [0, 1, 2, 3])
    table[7, :] = math.nan
    assert complete(table) == (list(range(7)), [0, 1, 2, 3])


def test_one_head_one_case_and_few_clusters_are_said() -> None:
    assert crossed_means(np.ones((5, 1))).flags == (Flag(Code.FEW_UNITS, "1"),)
    few = crossed_means(np.random.default_rng(0).normal(size=(5, 4)))
    assert few.flags == (Flag(Code.FEW_UNITS, "4"),)
    assert few.se is not None
    single = crossed_means(np.arange(10.0)[None])
    assert single.se == pytest.approx(np.arange(10).std(ddof=1) / math.sqrt(10))
    assert single.df == 9


def test_undefined_resamples_are_left_out_and_said() -> None:
    values, rng = np.full(3, 0.5), np.random.default_rng(0)
    resampled = rng.normal(0.5, 0.1, size=(200, 3))
    resampled[::5] = math.nan
    found = crossed_bootstrap(values, resampled, 30)
    assert found.flags == (Flag(Code.UNDEFINED, "20%"),)
    assert found.se is not None
    none = crossed_bootstrap(values, np.full((200, 3), math.nan), 30)
    assert none.se is None


def test_the_variance_is_never_below_the_interaction() -> None:
    """Seeds that cancel exactly leave the interaction's variance."""
    d = np.array([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]])
    found = crossed_means(d)
    assert found.se is not None
    assert found.se**2 == pytest.approx(12 / 5 / 12)


def test_p_values_have_fewer_degrees_of_freedom_than_intervals() -> None:
    """Those of the interval are golden (G12); few seeds cannot be trusted with a family's tail."""
    rng = np.random.default_rng(0)
    for seeds, share in ((3, 1 / 4), (5, 3 / 6), (10, 8 / 11)):
        noise = rng.normal(size=(seeds, 1)) * 0.02
        found = crossed_means(noise + rng.normal(size=(1, 400)) + rng.normal(size=(seeds, 400)))
        assert found.test_df == pytest.approx(max(seeds - 1, found.df * share))
        assert found.test_df is not None and seeds - 1 < found.test_df < found.df
        plain, p = Estimate(value=found.value, se=found.se, df=found.df).p(), found.p()
        assert p is not None and plain is not None and p > plain
    only_seeds = crossed_means(rng.normal(size=(5, 1)) + 1e-3 * rng.normal(size=(5, 400)))
    assert only_seeds.test_df == pytest.approx(4, rel=0.01)
    assert crossed_means(rng.normal(size=(1, 400))).test_df == 399


def test_percentile_intervals_need_seeds_and_width() -> None:
    assert hierarchical_interval(np.random.default_rng(0).normal(size=(100, 2)), []) is None
    assert hierarchical_interval(np.ones((100, 5)), []) is None


def test_areas_without_variance_have_no_interval() -> None:
    found = delong([[0.1, 0.2, 0.8, 0.9]], [False, False, True, True])
    assert found.area().interval() is None
    assert Flag(Code.ZERO_VAR) in found.area().flags
    with pytest.raises(UsageError, match="1 positives and 3 negatives"):
        delong([[0.1, 0.2, 0.8, 0.9]], [False, False, False, True])


def test_logit_intervals_stay_inside() -> None:
    low, high = Estimate(value=0.99, se=0.02, df=4).logit_interval() or (0.0, 0.0)
    assert 0 < low < 0.99 < high < 1
    assert Estimate(value=1.0, se=0.1).logit_interval() == Estimate(value=1.0, se=0.1).interval()


def test_effects_without_variance_are_none() -> None:
    assert effects.cohen(CONSTANT, CONSTANT) is None
    assert effects.cohen_paired([0.0] * 5) is None
    assert effects.rank_biserial([0.0] * 5) == 0.0
    with pytest.raises(UsageError, match="1 pairs"):
        effects.cohen_paired([1.0])


def test_ranks_of_equal_encoders_are_shared() -> None:
    full = np.full((5, 3), 0.7)
    found = ranks.by_datasets(full)
    assert found.rank.tolist() == [1, 1, 1]
    assert found.first == pytest.approx([1 / 3] * 3)
    assert found.tau is None
    with pytest.raises(UsageError, match="2 common seeds on some dataset"):
        ranks.by_seeds([np.ones((2, 3)), np.ones((5, 3))])


def test_ranks_need_complete_tables() -> None:
    with pytest.raises(UsageError, match=r"shape \(2, 2\) with 1 missing"):
        ranks.by_datasets(np.array([[1.0, 2.0], [2.0, math.nan]]))
    with pytest.raises(UsageError, match="at least 2 dataset"):
        ranks.winners_without(np.array([[1.0, 2.0]]))
    with pytest.raises(UsageError, match="0 common seeds"):
        ranks.by_seeds([])


def test_the_bayesian_test_of_nothing_is_even() -> None:
    found = signed_rank([0.0] * 8, 0.0)
    assert found.worse == pytest.approx(found.better)
    inside = signed_rank([0.0] * 8, 0.1)
    assert inside.equivalent == 1.0
    with pytest.raises(UsageError, match="rope -1"):
        signed_rank([0.1], -1.0)


def test_cells_and_cases_are_checked() -> None:
    statistic = CaseMeans(np.ones((2, 4)))
    with pytest.raises(UsageError, match=r"3 seeds \(0, 1, 2\) for 2 runs"):
        Cell(encoder="a", seeds=(0, 1, 2), statistic=statistic)
    with pytest.raises(UsageError, match="a: a seed is both finished and failed"):
        Cell(encoder="a", seeds=(0, 1), statistic=statistic, failed=(1,))
    with pytest.raises(IntegrityError, match="3 group ids for 4 cases"):
        Cases.of(range(4), [1, 2, 3])


def test_every_flag_has_a_meaning() -> None:
    assert set(MEANING) == set(Code)
    assert str(Flag(Code.MISSING_RUNS, "4/5")) == "MISSING_RUNS 4/5"
    assert str(Flag(Code.N1)) == "N1"
