"""Our statistics beside statsmodels, scikit-posthocs, autorank, baycomp and scipy on random data."""

from __future__ import annotations

import gc
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from omnibench_leaderboard.stats import effects, friedman, multiplicity, permutation, ttests
from omnibench_leaderboard.stats.across import wilcoxon
from omnibench_leaderboard.stats.bayes import signed_rank
from omnibench_leaderboard.stats.delong import delong
from omnibench_leaderboard.stats.ttests import Summary

Array = np.ndarray[Any, Any]


def pairs(count: int = 300) -> list[tuple[Array, Array]]:
    """Return random runs of two encoders, 3 to 12 of each."""
    rng = np.random.default_rng(11)
    out = []
    for _ in range(count):
        n, m = rng.integers(3, 13, size=2)
        scale = 10 ** rng.uniform(-3, 0)
        out.append((rng.normal(0.8, scale, n), rng.normal(0.8 + scale * rng.normal(), scale, m)))
    return out


def tables(count: int = 300, ties: bool = True) -> list[Array]:
    """Return random scores of 3 to 10 encoders on 5 to 20 datasets, some with ties."""
    rng = np.random.default_rng(12)
    out = []
    for i in range(count):
        n, k = rng.integers(5, 21), rng.integers(3, 11)
        scores = rng.normal(size=(n, k)) + rng.normal(size=k) * rng.uniform(0, 1.5)
        out.append(np.round(scores, 1) if ties and i % 3 == 0 else scores)
    return out


def test_t_tests_agree_with_scipy_and_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for a, b in pairs():
        x, y = Summary.of(a), Summary.of(b)
        for ours, pooled in ((ttests.student(x, y), "pooled"), (ttests.welch(x, y), "unequal")):
            t, p, df = weightstats.ttest_ind(a, b, usevar=pooled)
            assert (ours.t, ours.p, ours.estimate.df) == pytest.approx((t, p, df), rel=1e-9)
            scipys = stats.ttest_ind(a, b, equal_var=pooled == "pooled").confidence_interval()
            assert ours.estimate.interval() == pytest.approx(tuple(scipys), rel=1e-9)
            from_stats = stats.ttest_ind_from_stats(
                x.mean, x.sd, x.n, y.mean, y.sd, y.n, equal_var=pooled == "pooled"
            )
            assert ours.p == pytest.approx(from_stats.pvalue, rel=1e-9)
        one = stats.ttest_1samp(a, 0.79)
        assert ttests.one_sample(x, 0.79).p == pytest.approx(one.pvalue, rel=1e-9)
        both = min(len(a), len(b))
        paired = stats.ttest_rel(a[:both], b[:both])
        assert ttests.paired(a[:both], b[:both]).p == pytest.approx(paired.pvalue, rel=1e-9)


def test_equivalence_agrees_with_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for a, b in pairs():
        margin = float(np.std(a)) + 1e-3
        independent = ttests.welch(Summary.of(a), Summary.of(b)).estimate
        expected = weightstats.ttost_ind(a, b, -margin, margin, usevar="unequal")
        assert independent.tost(margin) == pytest.approx(expected[0], rel=1e-8)
        n = min(len(a), len(b))
        expected = weightstats.ttost_paired(a[:n], b[:n], -margin, margin)
        paired = ttests.paired(a[:n], b[:n]).estimate
        assert paired.tost(margin) == pytest.approx(expected[0], rel=1e-8)
        assert paired.non_inferiority(margin) == pytest.approx(expected[1][1], rel=1e-8)


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """statsmodels collects garbage at every call of Holm's method: hide what is loaded from it."""
    pytest.importorskip("statsmodels.stats.multitest")
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("little_garbage")
def test_families_agree_with_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(13)
    methods = {
        "holm": multiplicity.holm,
        "simes-hochberg": multiplicity.hochberg,
        "fdr_bh": multiplicity.benjamini_hochberg,
        "fdr_by": multiplicity.benjamini_yekutieli,
    }
    for _ in range(300):
        p = np.round(rng.random(rng.integers(1, 30)) ** rng.uniform(1, 4), 3).clip(1e-6)
        for name, ours in methods.items():
            expected = multitest.multipletests(p, method=name)[1]
            assert ours([*map(float, p)]) == pytest.approx(list(expected), rel=1e-9), name


def test_mcnemar_agrees_with_statsmodels() -> None:
    tables_2x2 = pytest.importorskip("statsmodels.stats.contingency_tables")
    for b, c in itertools.product(range(0, 40, 3), range(1, 40, 4)):
        expected = tables_2x2.mcnemar([[50, b], [c, 50]], exact=True).pvalue
        assert permutation.mcnemar(b, c).p == pytest.approx(expected, rel=1e-9)


def test_friedman_and_what_follows_agree_with_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    for scores in tables():
        result = friedman.friedman(scores)
        expected = stats.friedmanchisquare(*scores.T)
        assert result.chi2 == pytest.approx(expected.statistic, rel=1e-9)
        assert result.p_chi2 == pytest.approx(expected.pvalue, rel=1e-9)
        found = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
        assert friedman.nemenyi(result) == pytest.approx(found, abs=1e-6)
        found = posthocs.posthoc_conover_friedman(scores).to_numpy()
        assert friedman.conover(result) == pytest.approx(found, abs=1e-9)
        found = posthocs.posthoc_siegel_friedman(scores).to_numpy()
        assert friedman.against(result, 0) == pytest.approx(found[0, 1:], abs=1e-9)


def test_mean_ranks_and_critical_difference_agree_with_autorank() -> None:
    autorank = pytest.importorskip("autorank")
    pandas = pytest.importorskip("pandas")
    compared = 0
    for scores in tables(40, ties=False):
        frame = pandas.DataFrame(scores, columns=[f"e{i}" for i in range(scores.shape[1])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = autorank.autorank(frame, force_mode="nonparametric")
        result = friedman.friedman(scores)
        assert expected.pvalue == pytest.approx(result.p_chi2, rel=1e-9)
        ours = dict(zip(frame.columns, result.ranks, strict=True))
        assert expected.rankdf["meanrank"].to_dict() == pytest.approx(ours)
        if expected.cd is not None:
            ours_cd = friedman.critical_difference(result.encoders, result.datasets)
            assert expected.cd == pytest.approx(ours_cd, abs=1e-3)
            compared += 1
    assert compared >= 10


def test_the_bayesian_test_agrees_with_baycomp() -> None:
    baycomp = pytest.importorskip("baycomp")
    rng = np.random.default_rng(14)
    for i in range(5):
        d = np.round(rng.normal(rng.normal(0, 0.5), 0.6, size=rng.integers(6, 16)), 2)
        # baycomp asks for x and y and tests y - x; its region may not be empty to give three.
        expected = baycomp.SignedRankTest.probs(np.zeros(len(d)), d, rope=0.3, random_state=i)
        found = signed_rank(d, 0.3)
        ours = (found.worse, found.equivalent, found.better)
        assert ours == pytest.approx(expected, abs=0.02)


def test_wilcoxon_is_enumeration() -> None:
    rng = np.random.default_rng(15)
    for i in range(60):
        d = rng.normal(0.4, 1, size=rng.integers(6, 11))
        if i % 2:
            d = np.round(d, 0)
        found = wilcoxon(d)
        sizes = np.abs(d)
        values = stats.rankdata(sizes) if found.method == "wilcoxon" else sizes
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(d))))
        null = np.round(np.abs(signs @ values), 8)
        observed = round(abs(float(np.sign(d) @ values)), 8)
        assert found.p == pytest.approx(float((null >= observed).mean()), abs=1e-12)
        assert found.p >= found.floor


def test_sign_flips_agree_with_scipys_permutation_test() -> None:
    rng = np.random.default_rng(16)
    for _ in range(40):
        d = np.round(rng.normal(0.3, 1, size=rng.integers(3, 11)), 1)
        if not d.any():
            continue
        expected = stats.permutation_test(
            (d,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert permutation.sign_flip(d).p == pytest.approx(min(1.0, expected.pvalue), abs=1e-9)


def test_delong_is_its_direct_form() -> None:
    """Sums over all pairs of positives and negatives (DeLong et al., 1988)."""
    rng = np.random.default_rng(17)
    for _ in range(50):
        n, m = rng.integers(3, 25, size=2)
        positive = np.arange(n + m) < n
        scores = np.round(rng.normal(size=(2, n + m)) + positive, 1)
        found = delong(scores, positive)
        wins = np.heaviside(scores[:, :n, None] - scores[:, None, n:], 0.5)
        covariance = np.cov(wins.mean(axis=2)) / n + np.cov(wins.mean(axis=1)) / m
        assert found.areas == pytest.approx(wins.mean(axis=(1, 2)))
        assert found.covariance == pytest.approx(covariance, abs=1e-12)


def test_effect_sizes_agree_with_scipy_and_double_loops() -> None:
    for a, b in pairs(60):
        wins = [(x > y) + (x == y) / 2 for x in a for y in b]
        assert effects.a12(a, b) == pytest.approx(float(np.mean(wins)))
        u = stats.mannwhitneyu(a, b).statistic
        assert effects.a12(a, b) == pytest.approx(u / (len(a) * len(b)))
        found = effects.cohen(a, b)
        assert found is not None and found.interval is not None
        t = stats.ttest_ind(a, b).statistic
        scale = np.sqrt(len(a) * len(b) / (len(a) + len(b)))
        assert found.d * scale == pytest.approx(t)
        df = len(a) + len(b) - 2
        tails = [float(stats.nct.cdf(t, df, end * scale)) for end in found.interval]
        assert tails == pytest.approx([0.975, 0.025], abs=1e-8)


def test_walsh_intervals_invert_the_exact_signed_rank_test() -> None:
    """A shift just inside is not rejected at 5 %, one just outside is."""
    rng = np.random.default_rng(18)
    for _ in range(30):
        d = rng.normal(size=rng.integers(6, 13))
        interval = effects.walsh_interval(d)
        assert interval is not None
        for end, outward in zip(interval, (-1e-6, 1e-6), strict=True):
            assert stats.wilcoxon(d - (end + outward), method="exact").pvalue <= 0.05
            assert stats.wilcoxon(d - (end - outward), method="exact").pvalue > 0.05
    assert effects.walsh_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_detectable_differences_have_that_power() -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    for n in (3, 4, 5, 8, 10, 20):
        paired = power.TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
        assert effects.detectable(n**-0.5, n - 1) == pytest.approx(paired, rel=1e-3)
        independent = power.TTestIndPower().solve_power(nobs1=n, alpha=0.05, power=0.8)
        found = effects.detectable((2 / n) ** 0.5, 2 * n - 2)
        assert found == pytest.approx(independent, rel=1e-3)
