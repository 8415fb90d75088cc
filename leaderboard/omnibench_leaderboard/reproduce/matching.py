"""Which runs may stand beside a printed number, or why those that are there may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from omnibench.cards import PublishedValue
from omnibench_leaderboard.published import obstacle
from omnibench_leaderboard.reproduce.grid import Cell, Study
from omnibench_leaderboard.runs import Collection, Run

PUBLISHED_WEIGHTS = ("official", "own")  # `own`: the plugin's, or a network trained from scratch


@dataclass(frozen=True, kw_only=True)
class Match:
    """Runs of one cell that may be compared, or the reason why none may.

    Args:
        runs: By seed, of one recipe and one set of weights.
        reason: Empty where there are runs, or none at all.
        failed: Seeds of the same cell that were begun and did not finish.
    """

    runs: tuple[Run, ...] = ()
    reason: str = ""
    failed: int = 0


def match(study: Study, collection: Collection, value: PublishedValue) -> Match:
    """Find the runs that a printed number is to be compared with.

    Of several recipes that follow its protocol the first that has runs is taken; of several sets
    of published weights the one with most runs.
    """
    if value.reason:
        return Match(reason=value.reason)
    reasons: list[str] = []
    fit: list[tuple[Run, ...]] = []
    for runs in _groups(study, collection, value):
        reason = _obstacle(value, runs)
        if reason:
            reasons.append(reason)
        else:
            fit.append(runs)
    if fit:
        order = value.recipes.index
        runs = min(fit, key=lambda g: (order(_recipe(g[0])), -len(g), g[0].encoder))
        return Match(runs=runs, failed=_failed(collection, runs[0]))
    return Match(reason="; ".join(sorted(set(reasons))))


def seeds_of(study: Study, collection: Collection, cell: Cell) -> set[int]:
    """Return the seeds of a cell that are finished under the recipe that the study runs."""
    return {
        run.seed
        for value in cell.values
        for run in match(study, collection, value).runs
        if _recipe(run) == cell.recipe
    }


def _groups(
    study: Study, collection: Collection, value: PublishedValue
) -> Sequence[tuple[Run, ...]]:
    """Return the runs of a cell, whatever their recipe and weights."""
    asked = (value.encoder, value.task, value.dataset, study.origin, study.origin)
    return [
        runs
        for (setting, encoder), runs in collection.cells.items()
        if (encoder.name, setting.task, setting.dataset, encoder.plugin, _dataset_origin(runs))
        == asked
        and value.tuning in ("", setting.tuning)
        and value.variant == setting.variant
    ]


def _failed(collection: Collection, run: Run) -> int:
    # A run that failed has come to no variant.
    cells = [(replace(m.setting, variant=""), m.encoder) for m in collection.missing]
    return cells.count((replace(run.setting, variant=""), run.encoder))


def _obstacle(value: PublishedValue, runs: Sequence[Run]) -> str:
    if runs[0].encoder.weights not in PUBLISHED_WEIGHTS:
        return f"its weights are {runs[0].encoder.weights}, not the published ones"
    if any(value.metric not in run.record.metrics for run in runs):
        return f"{value.metric} was not computed"
    return obstacle(value, runs, value.metric)


def _dataset_origin(runs: Sequence[Run]) -> str:
    return str(runs[0].record.identity["dataset"]["plugin"])


def _recipe(run: Run) -> str:
    return str(run.record.identity["task"]["recipe"])
