"""From runs to what statistics resample: a panel of cells on the cases that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omnibench.errors import IntegrityError, UsageError
from omnibench.records import Arrays
from omnibench.rescoring import TOLERANCE
from omnibench.store import Store
from omnibench_leaderboard.runs import Run
from omnibench_leaderboard.stats import metric as stored
from omnibench_leaderboard.stats.cells import Cases, Cell
from omnibench_leaderboard.stats.panel import Panel


def panel_of(
    rows: Mapping[str, Sequence[Run]],
    metric: str,
    *,
    failed: Mapping[str, Sequence[int]],
    deterministic: bool,
) -> Panel | None:
    """Return the panel of one column.

    Args:
        rows: Runs of every encoder, by label; all of one setting.
        metric: The column's metric id.
        failed: Seeds that were begun and not finished, by label.
        deterministic: Seeds make no difference under this recipe.

    Returns:
        None where the metric has no form a case: a foreign task's, whose runs can only be compared
        by their values.

    Raises:
        IntegrityError: If predictions do not give the metric that the record states.
    """
    cells: list[Cell] = []
    shared: Cases | None = None
    for label, runs in rows.items():
        predictions = [_test_arrays(run) for run in runs]
        try:
            cases, statistic = stored.cases(predictions), stored.statistic(metric, predictions)
        except (UsageError, IntegrityError, KeyError):
            return None
        cell = Cell(
            encoder=label,
            seeds=tuple(run.seed for run in runs),
            statistic=statistic,
            failed=tuple(failed.get(label, ())),
            deterministic=deterministic,
            records=tuple(run.sha256 for run in runs),
        )
        _require_equal(cell, runs, metric)
        cells.append(cell)
        shared = shared or cases
    first = next(iter(rows.values()))[0].record.metrics[metric]
    if shared is None:
        return None
    return Panel(metric, cells, shared, higher_is_better=first["higher_is_better"])


def _test_arrays(run: Run) -> Arrays:
    arrays = Store(run.root).predictions(run.record)
    return {name: array for name, array in arrays.items() if name.startswith("test_")}


def _require_equal(cell: Cell, runs: Sequence[Run], metric: str) -> None:
    """Raise unless what is resampled is, without resampling, the number in the record."""
    for value, run in zip(cell.values, runs, strict=True):
        stated = run.record.metrics[metric]["value"]
        if abs(value - stated) > TOLERANCE:
            raise IntegrityError(
                f"{run.title}: {metric} is {stated:.9f} in the record and {value:.9f} case by case"
            )
