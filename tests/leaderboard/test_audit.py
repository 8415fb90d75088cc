"""The audit of printed summaries, against what was derived from the paper's tables."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from omnibench.errors import UsageError
from omnibench_leaderboard.audit import Finding, audit_accuracy, audit_pooled, pooled_sd

# OmniRad, Tables 9 and 10: base encoder, eight datasets.
MEANS = [77.53, 83.77, 91.53, 86.19, 91.66, 93.25, 97.25, 82.26]
SDS = [1.36, 0.13, 0.05, 0.01, 0.22, 0.45, 0.02, 0.15]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_omnirad_small_on_breastmnist_is_four_runs_and_no_other_number_to_seven() -> None:
    """statistics.md G20: {143, 143, 143, 144} / 156."""
    audit = audit_accuracy(91.83, 0.32, 156)
    assert audit.possible == (4,)
    runs = np.array([143, 143, 143, 144]) / 1.56
    assert (round(runs.mean(), 2), round(runs.std(ddof=1), 2)) == (91.83, 0.32)


def test_dino_small_on_breastmnist_is_three_runs_among_two_to_five() -> None:
    """statistics.md G20."""
    assert audit_accuracy(74.57, 4.17, 156, runs=range(2, 6)).possible == (3,)


def test_every_label_of_the_paper_is_the_derived_one(test_data: Path) -> None:
    """20 accuracies times run counts 2 to 10."""
    derived = rows(test_data / "spec/derived/run_count_forensics_accuracy.csv")
    assert len(derived) == 20
    for row in derived:
        audit = audit_accuracy(float(row["accuracy"]), float(row["std"]), int(row["test_size"]))
        expected = {r: row[f"n{r}"] for r in range(2, 11)}
        assert audit.findings == expected, row["model"]


def test_table_11_is_pooled_over_three_runs_of_eight_datasets(test_data: Path) -> None:
    derived = rows(test_data / "spec/derived/table11_reconciliation.csv")
    cells = [
        row
        for name in ("table09_segmentation_miou_group1", "table10_segmentation_miou_group2")
        for row in rows(test_data / f"spec/paper_tables/{name}.csv")
        if row["metric"] == "miou" and row["std"]
    ]
    three = 0
    for row in derived:
        own = [cell for cell in cells if cell["model"] == row["model"]]
        means = [float(cell["mean"]) for cell in own]
        sds = [float(cell["std"]) for cell in own]
        assert len(means) == 8
        for r in (2, 3, 4, 5, 10):
            assert pooled_sd(means, sds, r) == pytest.approx(
                float(row[f"pooled_std_n{r}"]), abs=6e-5
            )
        found = audit_pooled(float(row["t11_std"]), means, sds)
        assert set(found) <= {3}
        three += found == (3,)
    assert (three, len(derived)) == (13, 14)


def test_the_pooled_sd_is_that_of_all_runs() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(size=(8, 3))
    found = pooled_sd(list(runs.mean(axis=1)), list(runs.std(axis=1, ddof=1)), 3)
    assert found == pytest.approx(runs.std(ddof=1))
    assert audit_pooled(6.30, MEANS, SDS) == (3,)


@pytest.mark.parametrize(("cases", "runs"), [(7, 2), (9, 3), (6, 4)])
def test_reachable_means_and_sds_are_those_of_enumeration(cases: int, runs: int) -> None:
    """Every multiset of counts is possible; what is far from all of them is not."""
    sets = itertools.combinations_with_replacement(range(cases + 1), runs)
    table = np.array([100 * np.array(counts) / cases for counts in sets])
    means, sds = table.mean(axis=1), table.std(axis=1, ddof=1)
    for mean, sd in zip(np.round(means, 2), np.round(sds, 2), strict=True):
        assert audit_accuracy(float(mean), float(sd), cases, runs=[runs]).possible == (runs,)
    rng = np.random.default_rng(1)
    for mean, sd in zip(rng.uniform(0, 100, 300), rng.uniform(0, 40, 300), strict=True):
        near = (np.abs(means - mean) <= 0.01) & (np.abs(sds - sd) <= 0.015)
        found = audit_accuracy(mean, sd, cases, runs=[runs]).findings[runs]
        assert (found is Finding.OK) == bool(near.any())


def test_runs_cannot_be_below_no_case_or_above_all_cases() -> None:
    """A mean of 100 has no spread."""
    assert audit_accuracy(100.0, 0.0, 10, runs=[3]).possible == (3,)
    assert audit_accuracy(100.0, 5.0, 10, runs=[3]).findings == {3: Finding.SD_IMPOSSIBLE}
    assert audit_accuracy(99.5, 0.0, 10, runs=[3]).findings == {3: Finding.MEAN_IMPOSSIBLE}


def test_on_a_fine_lattice_everything_is_possible() -> None:
    assert audit_accuracy(97.31, 0.47, 17_778, runs=[3, 5]).possible == (3, 5)


@pytest.mark.parametrize(
    ("mean", "sd", "cases", "runs"),
    [(101.0, 1.0, 10, [3]), (50.0, -1.0, 10, [3]), (50.0, 1.0, 0, [3]), (50.0, 1.0, 10, [1])],
)
def test_what_no_accuracy_can_be_is_refused(
    mean: float, sd: float, cases: int, runs: list[int]
) -> None:
    with pytest.raises(UsageError, match="at least one case"):
        audit_accuracy(mean, sd, cases, runs=runs)


def test_pooling_needs_as_many_sds_as_means() -> None:
    with pytest.raises(UsageError, match="8 means and 2 SDs"):
        audit_pooled(6.3, MEANS, SDS[:2])
