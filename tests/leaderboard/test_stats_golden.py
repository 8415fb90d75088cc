"""Golden values G1 to G20 of the statistics specification, each computed elsewhere beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnibench_leaderboard.stats import effects, friedman, multiplicity, permutation, ranks, ttests
from omnibench_leaderboard.stats.across import compare_across, wilcoxon
from omnibench_leaderboard.stats.bayes import signed_rank
from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.classification import Auc
from omnibench_leaderboard.stats.crossed import crossed_means
from omnibench_leaderboard.stats.delong import delong
from omnibench_leaderboard.stats.flags import Code, Flag, Verdict
from omnibench_leaderboard.stats.rounding import Printed, boxed, boxed_value
from omnibench_leaderboard.stats.ttests import Summary

A = [0.8912, 0.8950, 0.8874, 0.8931, 0.8903]
B = [0.8845, 0.8901, 0.8850, 0.8862, 0.8871]
GAPS = np.array(A) - np.array(B)

# G1, from the paper's Tables 3-7 (F1) and 9-10 (mIoU): best OmniRad, best competitor with an SD,
# then Student's and Welch's p for n = 5, Holm over 13 and BH of Welch's, Welch's for n = 3.
PAPER = [
    (89.42, 0.18, 88.98, 1.00, 0.36125, 0.38461, 1.0, 0.556, 0.527),
    (94.85, 1.25, 93.29, 1.31, 0.09021, 0.09029, 0.632, 0.168, 0.210),
    (97.30, 0.32, 97.28, 0.47, 0.93924, 0.93949, 1.0, 0.939, 0.955),
    (95.45, 0.62, 94.74, 0.30, 0.05008, 0.06235, 0.499, 0.135, 0.176),
    (80.97, 0.45, 78.92, 0.86, 0.00150, 0.00320, 0.035, 0.014, 0.035),
    (77.53, 1.36, 77.18, 0.46, 0.60053, 0.60954, 1.0, 0.660, 0.707),
    (83.77, 0.13, 83.71, 0.14, 0.50244, 0.50255, 1.0, 0.644, 0.616),
    (91.53, 0.05, 91.55, 0.05, 0.54474, 0.54474, 1.0, 0.644, 0.650),
    (86.19, 0.01, 85.80, 0.21, 0.00322, 0.01415, 0.142, 0.046, 0.084),
    (91.66, 0.22, 92.86, 0.14, 0.00001, 0.00002, 0.0003, 0.0003, 0.0026),
    (93.25, 0.45, 93.02, 0.08, 0.29311, 0.31996, 1.0, 0.520, 0.471),
    (97.25, 0.02, 97.16, 0.03, 0.00052, 0.00084, 0.010, 0.005, 0.017),
    (82.26, 0.15, 82.61, 0.22, 0.01873, 0.02154, 0.194, 0.056, 0.094),
]

# G16: Demsar (2006), Table 6, as the specification reconstructed it.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.59, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.0, 1.0, 1.0, 1.0],
        [0.94, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.976, 0.975],
        [0.957, 0.978, 0.946, 0.97],
    ]
)

# G17: the paper's Tables 9-10, eight base encoders (rows) on Busi, Covid, FHPsAOP, MosMed,
# Pandental, Promise12, Kidney, Nerve.
BASE = {
    "OmniRad": [77.53, 83.77, 91.53, 86.19, 91.66, 93.25, 97.25, 82.26],
    "MAE": [76.85, 83.61, 91.54, 85.62, 92.86, 93.02, 97.16, 82.19],
    "DINO": [77.18, 83.71, 91.55, 85.65, 92.23, 92.7, 97.13, 82.19],
    "Radio": [76.57, 83.67, 91.52, 85.8, 92.17, 92.8, 97.11, 82.61],
    "DINOv2": [75.24, 83.34, 91.52, 85.73, 92.4, 93.02, 97.12, 82.2],
    "ViT": [75.62, 82.91, 91.4, 85.37, 91.16, 91.81, 97.11, 82.3],
    "CLIP": [70.64, 80.99, 91.26, 84.21, 89.38, 90.09, 96.98, 81.64],
    "DINOv3": [68.68, 80.34, 91.16, 84.67, 90.33, 91.54, 96.94, 81.92],
}


def summary(mean: float, sd: float, n: int = 5) -> Summary:
    return Summary(mean=mean, sd=sd, n=n)


def printed(mean: float, sd: float, n: int = 5) -> Printed:
    return Printed(summary=summary(mean, sd, n))


def test_g1_the_papers_comparisons() -> None:
    students, welchs, threes = [], [], []
    for m1, s1, m2, s2, *_ in PAPER:
        students.append(ttests.student(summary(m1, s1), summary(m2, s2)).p)
        welchs.append(ttests.welch(summary(m1, s1), summary(m2, s2)).p)
        threes.append(ttests.welch(summary(m1, s1, 3), summary(m2, s2, 3)).p)
    assert students == pytest.approx([row[4] for row in PAPER], abs=6e-6)
    assert welchs == pytest.approx([row[5] for row in PAPER], abs=6e-6)
    assert multiplicity.holm(welchs) == pytest.approx([row[6] for row in PAPER], abs=6e-4)
    found = multiplicity.benjamini_hochberg(welchs)
    assert found == pytest.approx([row[7] for row in PAPER], abs=6e-4)
    assert threes == pytest.approx([row[8] for row in PAPER], abs=6e-4)


def test_g1_organs_and_the_single_published_values() -> None:
    test = ttests.welch(summary(80.97, 0.45), summary(78.92, 0.86))
    assert test.t == pytest.approx(4.72270, abs=1e-5)
    assert test.estimate.df == pytest.approx(6.03762, abs=1e-5)
    fhps = ttests.one_sample(summary(91.53, 0.05), 92.9)
    assert (fhps.t, fhps.p) == (pytest.approx(-61.27, abs=5e-3), pytest.approx(4.25e-7, rel=2e-3))
    pandental = ttests.one_sample(summary(91.66, 0.22), 93.2)
    assert pandental.t == pytest.approx(-15.65, abs=5e-3)
    assert pandental.p == pytest.approx(9.73e-5, rel=1e-3)


def test_g1_rounding_boxes_decide_or_do_not() -> None:
    """statistics.md 1.1: MosMedPlus [0.0119, 0.0168]; OrganC cannot be decided from the paper."""
    mosmed = boxed(ttests.welch, printed(86.19, 0.01), printed(85.80, 0.21))
    assert (mosmed.low, mosmed.high) == pytest.approx((0.0119, 0.0168), abs=5e-5)
    assert mosmed.verdict()[0] is Verdict.BETTER
    organc = boxed(ttests.student, printed(95.45, 0.62), printed(94.74, 0.30))
    assert (organc.low, organc.high) == pytest.approx((0.0459, 0.0545), abs=5e-5)
    assert organc.verdict() == (Verdict.NOT_TESTABLE, (Flag(Code.ROUNDING),))
    organa = boxed(ttests.welch, printed(97.30, 0.32), printed(97.28, 0.47))
    assert organa.verdict()[0] is Verdict.NOT_SEPARATED


def test_a_single_published_value_is_one_run_not_the_truth() -> None:
    """statistics.md 1.1: BreastMNIST accuracy of OmniRad small against 89.7."""
    one = boxed_value(ttests.one_sample, printed(91.83, 0.32), 89.7, decimals=1)
    assert one.test.t == pytest.approx(14.88, abs=5e-3)
    assert one.test.p == pytest.approx(0.00012, abs=5e-6)
    case = boxed_value(ttests.single_case, printed(91.83, 0.32), 89.7, decimals=1)
    assert case.test.t == pytest.approx(6.08, abs=5e-3)
    assert case.test.p == pytest.approx(0.0037, abs=5e-5)
    assert case.low is not None and case.high is not None
    assert case.low < 0.0037 < case.high


def test_g2_g3_g4_runs() -> None:
    a, b = Summary.of(A), Summary.of(B)
    assert (a.mean, b.mean) == pytest.approx((0.89140, 0.88658))
    assert (a.sd, b.sd) == pytest.approx((0.002876629973, 0.002215174937), abs=1e-12)
    student, welch = ttests.student(a, b), ttests.welch(a, b)
    assert (student.t, student.p, student.estimate.df) == pytest.approx(
        (2.968529621, 0.01791131665, 8), abs=1e-9
    )
    assert student.estimate.interval() == pytest.approx((0.001075742, 0.008564258), abs=1e-9)
    assert (welch.t, welch.p, welch.estimate.df) == pytest.approx(
        (2.968529621, 0.01923486531, 7.509761202), abs=1e-9
    )
    assert welch.estimate.interval() == pytest.approx((0.001032767, 0.008607233), abs=1e-9)
    paired = ttests.paired(A, B)
    assert (paired.t, paired.p, paired.estimate.df) == pytest.approx(
        (5.331258262, 0.005960213642, 4), abs=1e-9
    )
    assert paired.estimate.interval() == pytest.approx((0.002309811, 0.007330189), abs=1e-9)
    ninety = paired.estimate.interval(0.90)
    assert ninety == pytest.approx((0.002892593559, 0.006747406440), abs=1e-12)


def test_g5_one_sample_and_single_case() -> None:
    one, case = (test(Summary.of(A), 0.885) for test in (ttests.one_sample, ttests.single_case))
    assert (one.t, one.p) == pytest.approx((4.974861276, 0.00762510659), abs=1e-9)
    assert (case.t, case.p) == pytest.approx((2.0310, 0.112088), abs=5e-5)


def test_g6_rank_and_permutation_tests_of_five_seeds() -> None:
    assert wilcoxon(GAPS).p == 0.0625 == permutation.sign_floor(5)
    flip = permutation.sign_flip(GAPS)
    assert (flip.p, flip.exact, flip.at_floor) == (0.0625, True, True)
    assert permutation.independent(A, B).p == pytest.approx(0.01587301587, abs=1e-11)


def test_g7_effect_sizes() -> None:
    d, dz = effects.cohen(A, B), effects.cohen_paired(GAPS)
    assert d is not None and dz is not None
    assert (d.d, d.g) == pytest.approx((1.877462981, 1.694792091), abs=1e-9)
    assert d.interval == pytest.approx((0.3061167, 3.3747340), abs=1e-7)
    assert effects.hodges_factor(8) == pytest.approx(0.9027033337, abs=1e-10)
    assert effects.hodges_factor(4) == pytest.approx(0.7978845608, abs=1e-10)
    assert (dz.d, dz.g) == pytest.approx((2.384211176, 1.902325287), abs=1e-9)
    assert effects.a12(A, B) == pytest.approx(0.96)
    assert effects.probability_of_improvement([A, B], [B, A]) == pytest.approx(0.5)
    assert effects.rank_biserial(GAPS) == 1.0


def test_g8_delong_and_the_permutation_to_prefer_with_so_few_cases() -> None:
    positive = np.arange(14) < 6
    s1 = [0.92, 0.85, 0.70, 0.66, 0.45, 0.58, 0.61, 0.40, 0.33, 0.30, 0.52, 0.21, 0.10, 0.45]
    s2 = [0.80, 0.60, 0.75, 0.41, 0.39, 0.62, 0.64, 0.44, 0.35, 0.30, 0.58, 0.26, 0.12, 0.50]
    found = delong([s1, s2], positive)
    assert found.areas == pytest.approx([0.9270833333, 0.7916666667], abs=1e-10)
    assert found.covariance.ravel() == pytest.approx(
        [0.00455729, 0.00597718, 0.00597718, 0.01671627], abs=5e-9
    )
    gap = found.difference()
    assert gap.se is not None
    assert gap.se**2 == pytest.approx(0.009319196429, abs=1e-12)
    assert gap.value / gap.se == pytest.approx(1.402758427, abs=1e-9)
    assert gap.p() == pytest.approx(0.1606888879, abs=1e-10)
    assert gap.interval() == pytest.approx((-0.05379, 0.32462), abs=5e-6)
    assert found.area().interval() == pytest.approx((0.79477, 1.05940), abs=5e-6)
    assert found.area().logit_interval() == pytest.approx((0.64231655, 0.98901327), abs=1e-8)
    assert gap.flags == (Flag(Code.FEW_UNITS, "6"),)
    heads = [Auc([np.array([scores])], positive[None]) for scores in (s1, s2)]
    test = permutation.exchange(heads[0], heads[1], Cases.of(range(14)))
    assert (test.p, test.exact) == (0.08984375, True)


def test_g10_multiplicity() -> None:
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205]
    assert multiplicity.holm(p) == pytest.approx([0.008, 0.056, *[0.234] * 6])
    assert multiplicity.hochberg(p) == pytest.approx([0.008, 0.056, *[0.148] * 5, 0.205])
    assert multiplicity.benjamini_hochberg(p) == pytest.approx(
        [0.008, 0.032, 0.0672, 0.0672, 0.0672, 0.08, 0.084571, 0.205], abs=1e-6
    )
    assert multiplicity.benjamini_yekutieli(p)[0] == pytest.approx(0.021743, abs=1e-6)


def test_g11_equivalence() -> None:
    estimate = ttests.paired(A, B).estimate
    assert estimate.tost(0.005) == pytest.approx(0.4259504473, abs=1e-10)
    assert estimate.tost(0.010) == pytest.approx(0.002297443013, abs=1e-10)


def test_g12_crossed_interval() -> None:
    d = np.array([[1, 0, 0, 1, 0, 1], [1, 0, -1, 1, 0, 0], [1, 1, 0, 0, 0, 1]], dtype=float)
    found = crossed_means(d)
    assert found.se is not None
    assert found.value == pytest.approx(0.3888888889, abs=1e-10)
    assert found.se**2 == pytest.approx(0.04012345679, abs=1e-10)
    assert found.df == pytest.approx(3.894009217, abs=1e-9)
    assert found.interval() == pytest.approx((-0.1732775733, 0.9510553510), abs=1e-9)


def test_g13_paired_dice_with_ties_and_zeros_goes_to_the_sign_flip() -> None:
    d = [0.01, 0.02, 0, 0.09, -0.01, 0.03, 0.15, 0, 0.02, 0, 0.03, -0.01]
    assert np.mean(d) == pytest.approx(0.0275)
    assert ttests.one_sample(Summary.of(d), 0.0).p == pytest.approx(0.0682246263, abs=1e-10)
    found = wilcoxon(d)
    assert (found.method, found.p) == ("sign-flip", 0.03515625)


def test_g14_mcnemar() -> None:
    found = permutation.mcnemar(11, 3)
    assert (found.p, found.mid_p) == pytest.approx((0.05737304688, 0.03515625), abs=1e-11)


def test_g16_demsars_table() -> None:
    result = friedman.friedman(DEMSAR)
    assert result.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # Demsar's own statistics do not correct for ties: of mean ranks alone.
    chi2 = 12 * 14 / 20 * ((result.ranks**2).sum() - 4 * 25 / 4)
    assert chi2 == pytest.approx(9.2785714, abs=1e-7)
    assert 13 * chi2 / (14 * 3 - chi2) == pytest.approx(3.686313, abs=1e-6)
    assert (result.chi2, result.p_chi2) == pytest.approx((10.228346, 0.01672158), abs=1e-6)
    assert (result.f, result.p) == pytest.approx((4.1851301, 0.01162066), abs=1e-7)
    assert friedman.critical_difference(4, 14) == pytest.approx(1.2535591, abs=1e-6)
    assert friedman.critical_difference(4, 14, 0.10) == pytest.approx(1.1180602, abs=1e-6)
    assert friedman.bonferroni_dunn(4, 14) == pytest.approx(1.1681425, abs=1e-6)
    assert friedman.nemenyi(result)[0, 1:] == pytest.approx([0.08867, 0.95618, 0.07418], abs=1e-5)
    found = friedman.conover(result)[0, 1:]
    assert found == pytest.approx([0.009588, 0.554625, 0.007713], abs=1e-6)


def test_g16_critical_differences_of_other_sizes() -> None:
    """statistics.md 1.4."""
    sizes = [(14, 5), (14, 13), (8, 8), (8, 5)]
    found = [friedman.critical_difference(k, n) for k, n in sizes]
    assert found == pytest.approx([8.87, 5.50, 3.712, 4.70], abs=5e-3)


def test_g18_omnirad_beside_radio_dino_on_eight_segmentation_datasets() -> None:
    d = [0.96, 0.10, 0.01, 0.39, -0.51, 0.45, 0.14, -0.35]
    mean = ttests.one_sample(Summary.of(d), 0.0).estimate
    assert mean.value == pytest.approx(0.14875)
    assert Summary.of(d).sd == pytest.approx(0.4646792, abs=1e-7)
    assert mean.interval() == pytest.approx((-0.2397316, 0.5372316), abs=1e-7)
    assert mean.tost(0.5) == pytest.approx(0.0349200402, abs=1e-10)
    assert mean.tost(1.0) == pytest.approx(0.0006394426, abs=1e-10)
    assert effects.hodges_lehmann(d) == pytest.approx(0.13)
    assert effects.walsh_interval(d) == pytest.approx((-0.25, 0.55))
    posterior = signed_rank(d, 0.5)
    assert (posterior.worse, posterior.equivalent, posterior.better) == pytest.approx(
        (0.00008, 0.98834, 0.01158), abs=0.005
    )


def test_g18_the_verdict_at_that_margin_is_equivalent() -> None:
    rows = compare_across(BASE, "Radio", margin=0.5)
    omnirad = next(row for row in rows if row.encoder == "OmniRad")
    assert (omnirad.wins, omnirad.ties, omnirad.losses) == (6, 0, 2)
    assert omnirad.test.p == pytest.approx(0.382812, abs=1e-6)
    assert omnirad.verdict is Verdict.EQUIVALENT


def test_minimum_detectable_effects() -> None:
    """statistics.md 1.2: 80 % power at 0.05, in standard deviations."""
    independent = [effects.detectable(math.sqrt(2 / n), 2 * n - 2) for n in (3, 5, 10)]
    assert independent == pytest.approx([3.07, 2.02, 1.32], abs=6e-3)
    paired = [effects.detectable(n**-0.5, n - 1) for n in (3, 5, 10)]
    assert paired == pytest.approx([3.26, 1.68, 1.00], abs=6e-3)


def test_g17_eight_base_encoders_on_eight_segmentation_datasets() -> None:
    result = friedman.friedman(np.array(list(BASE.values())).T)
    assert result.ranks == pytest.approx([2.0, 3.125, 3.1875, 3.5, 3.875, 5.3125, 7.5, 7.5])
    assert result.chi2 == pytest.approx(40.124251, abs=1e-6)
    assert result.p_chi2 == pytest.approx(1.1917e-6, rel=1e-4)
    assert result.f == pytest.approx(17.691749, abs=1e-6)
    assert result.p == pytest.approx(1.8545e-11, rel=1e-4)
    cd = friedman.critical_difference(8, 8)
    assert cd == pytest.approx(3.7120528, abs=1e-6)
    assert friedman.bonferroni_dunn(8, 8) == pytest.approx(3.2946978, abs=1e-6)
    apart = np.abs(result.ranks[:, None] - result.ranks[None, :]) > cd
    names = [{list(BASE)[i] for i in clique} for clique in friedman.cliques(result.ranks, apart)]
    assert names == [
        {"OmniRad", "MAE", "DINO", "Radio", "DINOv2", "ViT"},
        {"DINOv2", "ViT", "CLIP", "DINOv3"},
    ]
    assert friedman.nemenyi(result)[0, 1:7] == pytest.approx(
        [0.98439, 0.97866, 0.92482, 0.79083, 0.12103, 0.00019], abs=5e-6
    )
    assert friedman.conover(result)[0, 1:6] == pytest.approx(
        [0.111957, 0.093872, 0.035847, 0.009550, 0.000017], abs=5e-7
    )


def test_g17_wilcoxon_and_holm_against_omnirad() -> None:
    rows = {row.encoder: row for row in compare_across(BASE, "OmniRad")}
    order = ["ViT", "CLIP", "DINOv3", "MAE", "DINO", "DINOv2", "Radio"]
    assert [rows[name].test.p for name in order] == pytest.approx(
        [0.015625, 0.0078125, 0.0078125, 0.25, 0.25, 0.148438, 0.382812], abs=6e-7
    )
    assert [rows[name].p_adjusted for name in order] == pytest.approx(
        [0.078125, 0.054688, 0.054688, 0.75, 0.75, 0.59375, 0.75], abs=6e-7
    )
    assert {row.family for row in rows.values()} == {7}
    assert Flag(Code.FLOOR, "0.0078") in rows["CLIP"].flags


def test_g19_rank_stability_over_datasets() -> None:
    full = np.array(list(BASE.values())).T
    by_mean = ranks.by_datasets(full)
    assert by_mean.first[[0, 1, 3]] == pytest.approx([0.665, 0.295, 0.041], abs=0.02)
    by_rank = ranks.by_datasets(full, how="rank")
    assert by_rank.first[[0, 1, 3]] == pytest.approx([0.878, 0.094, 0.018], abs=0.02)
    assert by_mean.frequencies.sum(axis=1) == pytest.approx(np.ones(8))
    assert [list(BASE)[i] for i in ranks.winners_without(full)[0]] == ["MAE"]
