"""How a board's numbers came about, in sentences that a paper can take over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omnibench_leaderboard import seeds_only
from omnibench_leaderboard.board import Column, Methods, Overall
from omnibench_leaderboard.columns import code
from omnibench_leaderboard.stats import bootstrap, ranks
from omnibench_leaderboard.stats.flags import ALPHA, MEANING

OWN = {
    seeds_only.SEEDS_ONLY: seeds_only.MEANING,
    "RANDOM": "random weights: a floor to compare with",
    "CONSTANT": "some seed predicts the same for every test case",
    "DIRTY": "run by code with changes that were not committed: cannot be run again",
}


def methods(
    columns: Sequence[Column], overall: Sequence[Overall], reference: str | None
) -> Methods:
    """Describe what was computed, and explain every flag that stands on the board."""
    return Methods(
        texts=tuple(_texts(reference)),
        flags=tuple(sorted(_explained(columns, overall))),
        versions=tuple(sorted(code().items())),
    )


def _texts(reference: str | None) -> Iterable[str]:
    yield (
        "Every metric was recomputed from the stored predictions of its run before it entered; "
        "± is the sample standard deviation over seeds, with n runs."
    )
    yield (
        "Intervals are 95 % and cross seeds with test cases, both random; cases are resampled by "
        "patient, scan or article where these are known. Metrics that are no means over cases use "
        f"{bootstrap.RESAMPLES:,} case resamples that all encoders share; degrees of freedom are "
        "Satterthwaite's; intervals of metrics in (0, 1) are made on the logit scale."
    )
    yield (
        "Encoders are compared on common seeds and cases. All pairs of a column are one family, "
        f"corrected by Holm's method at level {ALPHA}: encoders that it does not separate from "
        "the best mean share rank 1, and the ranks that it leaves open are given. Intervals of "
        "differences are not corrected."
    )
    if reference is not None:
        yield (
            f"{reference} was named as reference; the comparisons with it in one column are a "
            "family of their own, corrected by Holm's method."
        )
    yield (
        "Verdicts: not testable; better or worse where the corrected p is below the level; "
        "equivalent where two one-sided tests stay within the margin, which is fixed before "
        "results are seen; else not separated. Metrics other than a column's headline carry none."
    )
    yield (
        "Across datasets, blocks are datasets and entries means over seeds, on the datasets and "
        "encoders that form a complete table: Friedman's test with the Iman-Davenport F, "
        "Nemenyi's critical difference, Wilcoxon's exact test (sign flips with ties) against the "
        f"reference with Holm's correction; ranks by mean from {ranks.DATASET_DRAWS:,} resamples "
        "of datasets."
    )
    yield (
        "Published values are printed summaries (evidence level 0): hollow, unranked, never "
        "tested here. Random draws derive from the digests of the records."
    )


def _explained(columns: Sequence[Column], overall: Sequence[Overall]) -> Iterable[tuple[str, str]]:
    texts = {code.value: meaning for code, meaning in MEANING.items()} | OWN
    shown = {flag for column in columns for cell in column.cells for flag in cell.flags}
    for column in columns:
        for cell in column.cells:
            for row in (cell.against_best, cell.against_reference):
                shown |= set(row.flags) if row is not None else set()
    shown |= {flag for each in overall for flag in each.flags}
    shown |= {flag for each in overall for row in each.against for flag in row.flags}
    codes = {flag.partition(" ")[0].rstrip(":") for flag in shown}
    return ((name, texts[name]) for name in codes if name in texts)
