"""From stored predictions to a metric that can be resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnibench.errors import IntegrityError, UsageError
from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.statistic import CaseMeans, Statistic

Predictions = Mapping[str, "np.ndarray[Any, Any]"]


def statistic(metric: str, runs: Sequence[Predictions], split: str = "test") -> Statistic:
    """Return a metric of several runs as a function of which cases are drawn.

    Args:
        metric: An id of `omnibench.metrics`, such as `f1_macro` or `miou_dataset@448`.
        runs: The predictions of every run; their cases must be equal (see `cases`).
        split: `test` or `val`.

    Raises:
        IntegrityError: If predictions lack what the metric is computed from.
        UsageError: For an id that has no form a case, such as that of a foreign task.
    """
    if not runs:
        raise UsageError(f"no predictions for {metric}: a cell needs at least one finished run")
    base, _, grid = metric.partition("@")
    found: Statistic | None = None
    if f"{split}_score" in runs[0]:
        from omnibench_leaderboard.stats.classification import from_scores

        labels = _all_equal(runs, f"{split}_label")
        found = from_scores(metric, _each(runs, f"{split}_score"), labels)
    elif f"{split}_counts@{grid}" in runs[0]:
        from omnibench_leaderboard.stats.segmentation import from_counts

        found = from_counts(base, _each(runs, f"{split}_counts@{grid}"), grid)
    elif f"{split}_captions" in runs[0]:
        found = _captions(metric, runs, split)
    if found is None:
        raise UsageError(
            f"{metric} has no form a case: only its values a run can be compared (--stats paper)"
        )
    return found


def cases(runs: Sequence[Predictions], split: str = "test") -> Cases:
    """Return the cases of several runs, which must be equal.

    Raises:
        IntegrityError: If ids are missing or differ between runs.
    """
    group = f"{split}_group"
    groups = _all_equal(runs, group) if any(group in run for run in runs) else None
    return Cases.of(_all_equal(runs, f"{split}_id"), groups)


def _captions(metric: str, runs: Sequence[Predictions], split: str) -> Statistic | None:
    from omnibench.metrics import bleu, captioning, meteor, wordnet
    from omnibench_leaderboard.stats.captioning import FORMULAS, from_ngrams

    pairs = [captioning.texts(run, split) for run in runs]
    if metric in FORMULAS:
        return from_ngrams(metric, [bleu.counts(*pair) for pair in pairs])
    if metric == "rouge_l":
        return CaseMeans([captioning.rouge_l_cases(*pair) for pair in pairs])
    if metric not in ("meteor", "meteor_nosyn"):
        return None
    synonyms = wordnet.found() if metric == "meteor" else wordnet.NoSynonyms()
    if synonyms is None:
        raise UsageError(
            "meteor needs WordNet's files, which are not on this machine; set OMNIBENCH_WORDNET "
            "to their folder or compare meteor_nosyn"
        )
    return CaseMeans([meteor.cases(*pair, synonyms) for pair in pairs])


def _each(runs: Sequence[Predictions], name: str) -> list[np.ndarray[Any, Any]]:
    lacking = sum(name not in run for run in runs)
    if lacking:
        raise IntegrityError(f"{lacking} of {len(runs)} runs lack {name}; run the cell again")
    return [run[name] for run in runs]


def _all_equal(runs: Sequence[Predictions], name: str) -> np.ndarray[Any, Any]:
    arrays = _each(runs, name)
    differing = sum(not np.array_equal(each, arrays[0]) for each in arrays)
    if differing:
        raise IntegrityError(
            f"{name} of {differing} of {len(runs)} runs differ from the first run's: these runs "
            "saw different cases and cannot be compared"
        )
    return arrays[0]
