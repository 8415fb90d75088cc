"""What a finished cell amounts to: mean ± sd over seeds, beside what papers print for it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omnibench.cards import PublishedValue
from omnibench.records import RunRecord

EXIT_CODES = {"usage": 2, "plugin": 3, "integrity": 4, "setup": 5}  # of failures; others are 1


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of one cell over its finished seeds; values in percent for fractions."""

    id: str
    unit: str
    values: tuple[float, ...]
    published: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (n - 1), None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class CellSummary:
    """Finished and failed seeds of one encoder, dataset, task, recipe and variant."""

    label: str
    encoder: str
    task: str
    dataset: str
    recipe: str
    tuning: str
    variant: str
    seeds: tuple[int, ...]
    failed: dict[int, dict[str, str]] = field(default_factory=dict)  # seed: kind and message
    rows: tuple[MetricRow, ...] = ()
    validation: tuple[MetricRow, ...] = ()
    cost: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    failed_records: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if every seed is finished, else what the gravest failure means."""
        return max((EXIT_CODES.get(f.get("kind", ""), 1) for f in self.failed.values()), default=0)

    @property
    def title(self) -> str:
        """One line that names the cell."""
        parts = [self.label, self.task, self.dataset, f"recipe {self.recipe}", self.tuning]
        return " · ".join([*parts, self.variant] if self.variant else parts)


def summarise(
    records: Sequence[tuple[RunRecord, str]],
    published: Sequence[PublishedValue],
    headline: str,
    pictures: Sequence[str] = (),
) -> CellSummary:
    """Summarise the records of one cell and variant.

    Args:
        records: Records with their paths; all of one cell.
        published: Every published value known; those of this cell are picked.
        headline: Id of the metric shown first.
        pictures: Paths of pictures of these runs.
    """
    finished = [record for record, _ in records if record.status == "complete"]
    done = _of_one_software(finished)
    first = (done or [records[0][0]])[0]
    identity = first.identity
    task = identity["task"]
    comparisons = _compare(first, published)
    return CellSummary(
        label=first.label,
        encoder=identity["encoder"]["name"],
        task=task["name"],
        dataset=identity["dataset"]["name"],
        recipe=recipe_label(first),
        tuning=identity["tuning"],
        variant=task["variant"],
        seeds=tuple(record.seed for record in done),
        failed={r.seed: dict(r.failure or {}) for r, _ in records if r.status != "complete"},
        rows=_rows([r.metrics for r in done], headline, comparisons.same),
        validation=_rows([r.validation for r in done], headline, {}),
        cost=_cost(done),
        notes=(*_mixture(finished, done), *_notes(done or [first]), *comparisons.reasons),
        records=tuple(path for record, path in records if record.status == "complete"),
        failed_records=tuple(path for record, path in records if record.status != "complete"),
        pictures=tuple(pictures),
    )


def _of_one_software(finished: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the largest party of seeds of the same code and packages; of equal ones the latest."""
    parties: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in finished:
        parties.setdefault(tuple(record.software.values()), []).append(record)

    def weight(party: list[RunRecord]) -> tuple[int, str]:
        return len(party), max(str(r.timing.get("ended", "")) for r in party)

    return max(parties.values(), key=weight, default=[])


def _mixture(finished: Sequence[RunRecord], done: Sequence[RunRecord]) -> list[str]:
    """Say which seeds are left out because other software made them."""
    left = [record for record in finished if record not in done]
    if not left:
        return []
    whats = [what for what, digest in done[0].software.items() if _differs(left, what, digest)]
    seeds = ", ".join(str(record.seed) for record in left)
    told = (
        f"MIXED_CODE: seeds {seeds} were run by other {' and '.join(whats)} than the {len(done)} "
        "shown and are left out; --results DIR runs all anew"
    )
    return [told]


def _differs(records: Sequence[RunRecord], what: str, digest: str) -> bool:
    return any(record.software[what] != digest for record in records)


def cell_names(record: RunRecord) -> tuple[str, ...]:
    """Return what names a record's cell and variant: label, task, dataset, recipe, tuning, variant.

    Empty names are left out. A limit on images stands beside the dataset, whose name it belongs to.
    """
    identity = record.identity
    task, recipe = identity["task"], f"recipe {recipe_label(record)}"
    limit = f" limited to {n} images a split" if (n := identity["dataset"]["limit"]) else ""
    dataset = identity["dataset"]["name"] + limit
    names = (record.label, task["name"], dataset, recipe, identity["tuning"])
    return (*names, task["variant"]) if task["variant"] else names


def recipe_label(record: RunRecord) -> str:
    """Return the recipe's name and what was changed in it: a changed recipe is another."""
    changed = ", ".join(
        f"{name}={value}" for name, value in sorted(record.changes.items()) if name != "seeds"
    )
    return str(record.identity["task"]["recipe"]) + (f" with {changed}" if changed else "")


def _rows(
    metrics: Sequence[Any], headline: str, published: dict[str, list[str]]
) -> tuple[MetricRow, ...]:
    """Return a row for every metric that all seeds have, the headline first."""
    if not metrics:
        return ()
    ids = [i for i in metrics[0] if all(i in m for m in metrics)]
    ids.sort(key=lambda i: (i != headline, i not in published, i))
    rows = []
    for metric in ids:
        unit = metrics[0][metric]["unit"]
        scale = 100.0 if unit == "fraction" else 1.0
        values = tuple(scale * m[metric]["value"] for m in metrics)
        rows.append(
            MetricRow(
                id=metric, unit=unit, values=values, published=tuple(published.get(metric, ()))
            )
        )
    return tuple(rows)


def _cost(done: Sequence[RunRecord]) -> dict[str, Any]:
    told = [record.cost for record in done if record.cost]
    if not told:
        return {}
    cost = {k: v for k, v in told[0].items() if k != "seconds"}
    cost["seconds_per_seed"] = statistics.fmean(each.get("seconds", 0.0) for each in told)
    cost["peak_memory_bytes"] = max(each.get("peak_memory_bytes", 0) for each in told)
    return cost


def _notes(done: Sequence[RunRecord]) -> list[str]:
    """Say what keeps these numbers from being taken at face value."""
    first = done[0]
    notes = []
    if first.identity["task"]["recipe"] == "quick":
        notes.append("recipe quick: a first try on few, small images, never a result")
    facts = first.dataset.get("facts", {})
    if "caution" in facts:
        notes.append(f"{first.identity['dataset']['name']}: {facts['caution']}")
    if first.identity["dataset"]["limit"]:
        notes.append(f"--limit {first.identity['dataset']['limit']}: not the whole dataset")
    if facts.get("unverified"):
        notes.append("unverified data: its digest is not the published one")
    if first.identity["encoder"]["weights"] == "random":
        notes.append("random weights: a floor to compare with")
    for metric in first.metrics:
        resources = {r.metrics[metric].get("resource") for r in done if metric in r.metrics}
        if len(resources) > 1:
            notes.append(f"MIXED RESOURCES: {metric} was computed with different files")
    flags = {flag for r in done for flag in r.details.get("flags", ())}
    return notes + sorted(flags)


@dataclass(frozen=True)
class _Comparisons:
    same: dict[str, list[str]]
    reasons: list[str]


def _compare(record: RunRecord, published: Sequence[PublishedValue]) -> _Comparisons:
    """Split the published values of this cell into comparable ones and reasons why not."""
    identity = record.identity
    same: dict[str, list[str]] = {}
    reasons: list[str] = []
    for value in published:
        if (value.encoder, value.task, value.dataset) != (
            identity["encoder"]["name"],
            identity["task"]["name"],
            identity["dataset"]["name"],
        ):
            continue
        if value.tuning and value.tuning != identity["tuning"]:
            continue
        if value.variant and value.variant != identity["task"]["variant"]:
            continue
        printed = f"{value.value:.2f}" + (f" ± {value.sd:.2f}" if value.sd is not None else "")
        reason = value.reason or _obstacle(record, value)
        if reason is None:
            same.setdefault(value.metric, []).append(f"{printed} ({value.source})")
        else:
            reasons.append(
                f"{value.source} prints {value.printed_metric} {printed}: not comparable, {reason}"
            )
    return _Comparisons(same, reasons)


def _obstacle(record: RunRecord, value: PublishedValue) -> str | None:
    identity = record.identity
    if identity["encoder"]["weights"] not in ("official", "own"):
        return "these are not the published weights"
    if record.dataset.get("facts", {}).get("unverified"):
        return "this run read data that are not the published files"
    if identity["dataset"]["limit"]:
        return f"this run saw {identity['dataset']['limit']} images a split"
    if identity["task"]["recipe"] not in value.recipes:
        return (
            f"it follows recipe {' or '.join(value.recipes)}, this run {identity['task']['recipe']}"
        )
    changed = [name for name in record.changes if name != "seeds"]
    if changed:
        return f"this run changed {', '.join(changed)}"
    if value.metric not in record.metrics:
        return f"its metric {value.metric or value.printed_metric} was not computed here"
    return None


def as_json(summary: CellSummary) -> dict[str, Any]:
    """Return a summary as plain JSON data."""

    def rows(items: Sequence[MetricRow]) -> dict[str, Any]:
        return {
            row.id: {
                "mean": row.mean,
                "sd": row.sd,
                "n": len(row.values),
                "values": list(row.values),
                "unit": "percent" if row.unit == "fraction" else row.unit,
                "published": list(row.published),
            }
            for row in items
        }

    return {
        "encoder": summary.encoder,
        "label": summary.label,
        "task": summary.task,
        "dataset": summary.dataset,
        "recipe": summary.recipe,
        "tuning": summary.tuning,
        "variant": summary.variant,
        "seeds": list(summary.seeds),
        "failed": {str(seed): failure for seed, failure in summary.failed.items()},
        "metrics": rows(summary.rows),
        "validation": rows(summary.validation),
        "cost": summary.cost,
        "notes": list(summary.notes),
        "records": list(summary.records),
        "failed_records": list(summary.failed_records),
        "pictures": list(summary.pictures),
    }
