"""What a reader must know beside a number, and the five verdicts.

A flag is a code and a detail: `MISSING_RUNS 4/5`. Codes in `BLOCKING` forbid a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.05


class Verdict(StrEnum):
    """What is said about an encoder beside another."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NOT_SEPARATED = "not separated"
    NOT_TESTABLE = "not testable"


class Code(StrEnum):
    """Why a number is to be read with care."""

    N1 = "N1"
    N2 = "N2"
    LOW_N = "LOW_N"
    ONE_HEAD = "ONE_HEAD"
    FEW_UNITS = "FEW_UNITS"
    ZERO_VAR = "ZERO_VAR"
    IDENTICAL = "IDENTICAL"
    MISSING_RUNS = "MISSING_RUNS"
    NO_COMMON_SEEDS = "NO_COMMON_SEEDS"
    MIXED_CODE = "MIXED_CODE"
    CLUSTER_UNKNOWN = "CLUSTER_UNKNOWN"
    FLOOR = "FLOOR"
    UNDEFINED = "UNDEFINED"
    ROUNDING = "ROUNDING"
    FEW_DATASETS = "FEW_DATASETS"
    INCOMPLETE = "INCOMPLETE"
    AGREEMENT = "AGREEMENT"


MEANING = {
    Code.N1: "one run: its interval is over cases only, no test is possible",
    Code.N2: "two runs: mean and range only, no test",
    Code.LOW_N: "fewer than five common seeds",
    Code.ONE_HEAD: "over cases only: this holds for the trained heads at hand",
    Code.FEW_UNITS: "too few cases or clusters for an interval",
    Code.ZERO_VAR: "no variance over runs and cases: nothing can be tested",
    Code.IDENTICAL: "identical scores",
    Code.MISSING_RUNS: "runs are missing or failed: a lead is not believed without them",
    Code.NO_COMMON_SEEDS: "no seed was run for both encoders",
    Code.MIXED_CODE: "the seeds were run by different versions of the code",
    Code.CLUSTER_UNKNOWN: "patient or scan ids are not known: cases count as independent",
    Code.FLOOR: "the smallest p that this test can give",
    Code.UNDEFINED: "the metric is not defined on some resamples",
    Code.ROUNDING: "the printed digits do not decide",
    Code.FEW_DATASETS: "too few datasets for a test across them",
    Code.INCOMPLETE: "encoders or datasets without all cells were left out",
    Code.AGREEMENT: "all datasets rank alike: p is that of the exact permutation test",
}

# FLOOR, ROUNDING and FEW_DATASETS block where they are raised: not every test with a floor is
# undecided by it.
BLOCKING = frozenset(
    {
        Code.N1,
        Code.N2,
        Code.FEW_UNITS,
        Code.ZERO_VAR,
        Code.IDENTICAL,
        Code.NO_COMMON_SEEDS,
        Code.MIXED_CODE,
        Code.ROUNDING,
        Code.FEW_DATASETS,
    }
)


@dataclass(frozen=True, order=True)
class Flag:
    """A code and, where one helps, a short detail such as `4/5`."""

    code: Code
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.detail}".rstrip()


def blocks(flags: Iterable[Flag]) -> bool:
    """Tell whether any of the flags forbids a verdict."""
    return any(flag.code in BLOCKING for flag in flags)
