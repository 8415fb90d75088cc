"""What papers print for a column: shown hollow and unranked, or with the reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omnibench.cards import PublishedValue
from omnibench.offers import Offer
from omnibench_leaderboard.board import Published
from omnibench_leaderboard.runs import Run, Setting


def beside(
    known: Iterable[Offer[PublishedValue]], runs: Sequence[Run], metric: str, *, headline: bool
) -> tuple[Published, ...]:
    """Return the published values that stand beside a column.

    A plugin's values belong to its own datasets (see benchmark/README.md), so that nobody's name
    stands beside another's data.

    Args:
        known: Values of all plugins.
        runs: Runs of the column.
        metric: The column's metric id.
        headline: The column also takes what is comparable with no column, with the reason.
    """
    setting, computed = runs[0].setting, runs[0].record.metrics
    plugin = runs[0].record.identity["dataset"]["plugin"]
    scale = 100.0 if computed[metric].get("unit") == "fraction" else 1.0
    rows = [
        Published(
            encoder=value.encoder,
            source=value.source,
            metric=value.metric,
            printed_metric=value.printed_metric,
            value=value.value / scale,
            sd=None if value.sd is None else value.sd / scale,
            reason=f"not comparable, because {reason}" if reason else "",
        )
        for offer in known
        if offer.plugin.distribution == plugin and _belongs(value := offer.card, setting)
        if value.metric == metric or (headline and value.metric not in computed)
        for reason in [obstacle(value, runs, metric)]
    ]
    return tuple(sorted(rows, key=lambda row: (row.encoder, row.source, row.printed_metric)))


def _belongs(value: PublishedValue, setting: Setting) -> bool:
    return (
        (value.task, value.dataset) == (setting.task, setting.dataset)
        and value.tuning in ("", setting.tuning)
        and value.variant in ("", setting.variant)
    )


def obstacle(value: PublishedValue, runs: Sequence[Run], metric: str) -> str:
    """Return why a published value cannot stand in a column, or an empty text."""
    record = runs[0].record
    setting, recipe = runs[0].setting, record.identity["task"]["recipe"]
    changed = [name for name in record.changes if name != "seeds"]
    if value.reason:
        return value.reason
    if value.metric != metric:
        return f"{value.metric or value.printed_metric} was not computed from these records"
    if recipe not in value.recipes:
        return f"it follows recipe {' or '.join(value.recipes)}, this column {recipe}"
    if changed:
        return f"this column changed {', '.join(changed)}"
    if setting.limit:
        return f"this column saw {setting.limit} images a split"
    if any(run.record.dataset.get("facts", {}).get("unverified") for run in runs):
        return "this column's data are not the published files"
    return ""
