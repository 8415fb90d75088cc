"""From a collection to the board that every output is made from."""

from __future__ import annotations

from omnibench.errors import SetupError, UsageError, suggestion
from omnibench.registry import Registry
from omnibench_leaderboard import facts
from omnibench_leaderboard.board import Board, Encoder
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.columns import columns
from omnibench_leaderboard.methods import methods
from omnibench_leaderboard.overall import overall
from omnibench_leaderboard.panels import Panels
from omnibench_leaderboard.runs import Collection


def build(
    collection: Collection,
    registry: Registry,
    *,
    reference: str | None = None,
    metric: str | None = None,
    cache: Cache | None = None,
) -> Board:
    """Build the board of a collection.

    Args:
        collection: Runs that may enter.
        registry: Offers tasks and published values.
        reference: Label of the encoder to compare with, named before results were seen.
        metric: Headline metric in place of the task's own, where a setting has it; with or
            without its grid.
        cache: Remembers what statistics found.

    Raises:
        SetupError: If no run may enter.
        UsageError: If no encoder is the reference, or no run has the metric.
    """
    require_runs(collection)
    labels = sorted(collection.labels.values())
    if reference is not None:
        require_label(reference, labels)
    require_metric(metric, collection)
    panels, known = Panels(collection, registry, metric), registry.published()
    made = [
        column
        for setting in panels.settings
        for column in columns(panels, setting, known, reference=reference, cache=cache)
    ]
    headlines = [column for column in made if column.headline]
    across = overall(panels, headlines, reference, cache)
    partial = [
        item
        for setting in panels.settings
        for name in panels.metrics(setting)
        for item in panels.partial(setting, name)
    ]
    return Board(
        reference=reference,
        encoders=encoders(collection),
        columns=tuple(made),
        overall=across,
        missing=tuple(f"{item.title}: {item.reason}" for item in collection.missing),
        exclusions=tuple(sorted([*collection.exclusions, *partial])),
        methods=methods(headlines, across, reference),
    )


def encoders(collection: Collection) -> tuple[Encoder, ...]:
    """Return the rows of a board, by label."""
    rows = [
        facts.encoder(label, key, [run for run in collection.runs if run.encoder == key])
        for key, label in collection.labels.items()
    ]
    return tuple(sorted(rows, key=lambda row: row.label))


def require_runs(collection: Collection) -> None:
    """Raise `SetupError` with the reasons if no run may enter."""
    if collection.runs:
        return
    reasons = [f"{item.what}: {item.reason}" for item in collection.exclusions]
    reasons += [f"{item.title}: {item.reason}" for item in collection.missing]
    shown = "\n".join(f"  {reason}" for reason in reasons[:10])
    raise SetupError(
        f"no record may enter a table; `omnibench verify` shows all {len(reasons)} reasons:\n{shown}"
    )


def require_label(name: str, labels: list[str]) -> None:
    """Raise `UsageError` with the nearest labels unless there is such an encoder."""
    if name not in labels:
        raise UsageError(
            f"no encoder {name!r} in these results.{suggestion(name, labels)} "
            f"There are: {', '.join(labels)}"
        )


def require_metric(metric: str | None, collection: Collection) -> None:
    """Raise `UsageError` with the nearest ids unless some run has the metric."""
    names = {name for run in collection.runs for name in run.record.metrics}
    if metric is not None and metric not in names | {name.partition("@")[0] for name in names}:
        raise UsageError(
            f"no run has the metric {metric!r}.{suggestion(metric, names)} "
            f"There are: {', '.join(sorted(names))}"
        )
