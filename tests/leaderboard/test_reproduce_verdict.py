"""The verdict on a printed number: what must be said of made-up runs, and of real digits."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats

from omnibench_leaderboard.reproduce.verdict import (
    Outcome,
    beside_pool,
    beside_runs,
    beside_value,
    pooled,
    single_run,
)


def runs(mean: float, sd: float, n: int = 5) -> list[float]:
    """Return n values of exactly this mean and SD."""
    steps = [i - (n - 1) / 2 for i in range(n)]
    return [mean + sd * step / statistics.stdev(steps) for step in steps]


def test_runs_of_the_printed_mean_and_little_spread_match():
    found = beside_runs(runs(93.2, 0.2), 93.25, 0.2, (5, 3), margin=0.5)
    assert found.outcome is Outcome.MATCHES and found.reason == ""
    assert found.difference == pytest.approx(-0.05)


def test_runs_far_from_the_printed_mean_differ():
    found = beside_runs(runs(91.0, 0.2), 93.25, 0.2, (5, 3), margin=0.5)
    assert found.outcome is Outcome.DIFFERS
    assert found.interval is not None and found.interval[1] < -1.5


def test_equal_means_with_much_spread_decide_nothing():
    # Table 8, OmniRad base on BreastMNIST: 87.32 ± 3.72, margin 1 on 156 images.
    found = beside_runs(runs(87.32, 3.7), 87.32, 3.72, (5, 3), margin=1.0)
    assert found.outcome is Outcome.UNDECIDED
    assert "within ±1.00" in found.reason


def test_a_difference_within_the_margin_is_a_match_however_sure_it_is():
    found = beside_runs(runs(97.35, 0.02), 97.25, 0.02, (5, 3), margin=0.5)
    assert found.outcome is Outcome.MATCHES
    assert found.p is not None and found.p < 0.05


def test_p_values_are_the_largest_over_the_rounding_box_and_the_run_counts():
    own = runs(93.2, 0.3)
    corners = [
        (93.25 + a, 0.2 + b, n) for a in (-0.005, 0.005) for b in (-0.005, 0.005) for n in (5, 3)
    ]
    expected = 0.0
    for mean, sd, n in corners:
        v1, v2 = 0.3**2 / 5, sd**2 / n
        df = (v1 + v2) ** 2 / (v1**2 / 4 + v2**2 / (n - 1))
        low = stats.t.sf((93.2 - mean + 0.5) / math.sqrt(v1 + v2), df)
        high = stats.t.cdf((93.2 - mean - 0.5) / math.sqrt(v1 + v2), df)
        expected = max(expected, low, high)
    found = beside_runs(own, 93.25, 0.2, (5, 3), margin=0.5)
    assert found.equivalence == pytest.approx(expected, rel=1e-9)


def test_fewer_possible_runs_behind_the_printed_mean_make_a_verdict_harder():
    # Chosen so that the stated five runs would decide and three do not.
    stated = beside_runs(runs(90.0, 0.3), 90.0, 0.45, (5,), margin=0.5)
    doubted = beside_runs(runs(90.0, 0.3), 90.0, 0.45, (5, 3), margin=0.5)
    assert (stated.outcome, doubted.outcome) == (Outcome.MATCHES, Outcome.UNDECIDED)


def test_a_box_on_both_sides_of_zero_is_never_a_difference():
    found = beside_runs(runs(90.001, 1e-4), 90.0, 0.0, (5,), margin=None)
    assert found.outcome is Outcome.UNDECIDED and found.p == 1.0


def test_runs_that_do_not_vary_are_not_tested():
    found = beside_value([88.0, 88.0, 88.0], 88.0, margin=0.5)
    assert found.outcome is Outcome.UNDECIDED and "do not vary" in found.reason
    assert found.interval is None


def test_a_printed_single_value_is_taken_for_one_run():
    # Fixture A beside 0.885 (statistics.md G5): t 2.0310, p 0.112088; nothing is shown.
    own = [89.12, 89.50, 88.74, 89.31, 89.03]
    found = beside_value(own, 88.5, margin=None)
    assert found.outcome is Outcome.UNDECIDED and "no margin" in found.reason
    assert found.p is not None and 0.112088 < found.p < 0.115
    assert beside_value(own, 80.0, margin=None).outcome is Outcome.DIFFERS


def test_one_run_has_no_verdict():
    found = single_run(88.0, 89.5)
    assert found.outcome is Outcome.UNDECIDED and found.difference == -1.5


# Tables 9 and 10, OmniRad base: mIoU, mean and SD on the eight datasets.
OMNIRAD_BASE = [
    (77.53, 1.36),
    (83.77, 0.13),
    (91.53, 0.05),
    (86.19, 0.01),
    (91.66, 0.22),
    (93.25, 0.45),
    (97.25, 0.02),
    (82.26, 0.15),
]


def test_pooling_three_runs_a_dataset_gives_the_printed_table_11():
    # Table 11 prints 87.93 ± 6.30; statistics.md 1.1: r = 3 gives 6.298, r = 5 6.247.
    for n, sd in ((3, 6.2981), (5, 6.2470)):
        own = {str(i): runs(mean, each, n) for i, (mean, each) in enumerate(OMNIRAD_BASE)}
        assert pooled(own) == (pytest.approx(87.93), pytest.approx(sd, abs=5e-5))


def test_a_pooled_mean_is_judged_by_the_noise_of_runs_not_by_the_spread_of_datasets():
    own = {str(i): runs(mean, sd) for i, (mean, sd) in enumerate(OMNIRAD_BASE)}
    assert beside_pool(own, 87.93, margin=0.5).outcome is Outcome.MATCHES
    assert beside_pool(own, 86.0, margin=0.5).outcome is Outcome.DIFFERS
    # se² = 2 Σ sd²/n / 8²
    variance = 2 * sum(sd**2 / 5 for _, sd in OMNIRAD_BASE) / 64
    found = beside_pool(own, 87.93, margin=0.5)
    assert found.interval is not None
    spread = sum((sd**2 / 5 / 64) ** 2 / 4 for _, sd in OMNIRAD_BASE)
    half = stats.t.ppf(0.975, (variance / 2) ** 2 / spread) * math.sqrt(variance)
    assert found.interval[1] - found.difference == pytest.approx(half)
