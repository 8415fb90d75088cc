"""Encoders beside one that was named before: on every dataset, and across them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from omnibench.errors import UsageError
from omnibench.registry import Registry
from omnibench_leaderboard import judge, paper_mode
from omnibench_leaderboard.board import Across, Comparison
from omnibench_leaderboard.build import require_label, require_metric, require_runs
from omnibench_leaderboard.formatting import scale
from omnibench_leaderboard.overall import across
from omnibench_leaderboard.panels import Panels, Rows, is_higher_better
from omnibench_leaderboard.runs import Collection, Run, Setting
from omnibench_leaderboard.stats import comparison as tested
from omnibench_leaderboard.stats.across import compare_across
from omnibench_leaderboard.stats.equivalence import margin as default_margin
from omnibench_leaderboard.stats.flags import Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    """One encoder beside the reference in one column.

    Args:
        encoder: Label.
        setting: Task, dataset, recipe, tuning, variant.
        metric: Headline metric of the setting.
        unit: Of the metric.
        mean: Of the encoder's runs.
        reference_mean: Of the reference's runs.
        seeds: Number of common seeds.
        cases: Number of test cases.
        comparison: Encoder minus reference.
    """

    encoder: str
    setting: Setting
    metric: str
    unit: str
    mean: float
    reference_mean: float
    seeds: int
    cases: int
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is compared under one setting: runs by label, the reference among them."""

    metric: str
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `omnibench leaderboard compare` says."""

    encoders: tuple[str, ...]
    reference: str
    stats: str
    rows: tuple[Row, ...]
    across: tuple[Across, ...]

    @property
    def untestable(self) -> tuple[Row, ...]:
        """Rows about which nothing can be said."""
        return tuple(
            row for row in self.rows if row.comparison.verdict == Verdict.NOT_TESTABLE.value
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def compare(
    collection: Collection,
    registry: Registry,
    encoders: Sequence[str],
    reference: str,
    *,
    stats: str = "crossed",
    margin: float | None = None,
    metric: str | None = None,
) -> Report:
    """Compare encoders with a reference on every setting that both have.

    All rows are one family, corrected by Holm's method; `paper` corrects nothing, as the paper
    does.

    Args:
        collection: Runs that may enter.
        registry: Offers tasks and published values.
        encoders: Labels.
        reference: Label.
        stats: `crossed`, or `paper` for Student's and Welch's tests over runs.
        margin: Largest difference that counts as none, in percent points for fractions, else on
            the metric's own scale; the metric's own margin if None.
        metric: Headline metric in place of the task's own.

    Raises:
        UsageError: For an unknown encoder or metric, or where nothing is common.
        SetupError: If no run may enter.
    """
    require_runs(collection)
    labels = sorted(collection.labels.values())
    for name in (*encoders, reference):
        require_label(name, labels)
    require_metric(metric, collection)
    chosen = [name for name in dict.fromkeys(encoders) if name != reference]
    if not chosen:
        raise UsageError(f"{reference!r} is compared with itself; name another encoder")
    panels = Panels(collection, registry, metric)
    shared = _shared(panels, chosen, reference)
    rows = (
        _paper(shared, reference)
        if stats == "paper"
        else _crossed(panels, shared, reference, margin)
    )
    return Report(
        encoders=tuple(chosen),
        reference=reference,
        stats=stats,
        rows=tuple(rows),
        across=tuple(_across(shared, reference, margin)),
    )


def _shared(panels: Panels, encoders: Sequence[str], reference: str) -> dict[Setting, Shared]:
    """Return the settings that the reference and some encoder have.

    Raises:
        UsageError: If there is none, with what each has.
    """
    found = {}
    for setting in panels.settings:
        metric, *_ = panels.metrics(setting)
        rows = panels.rows(setting, metric)
        kept = {label: rows[label] for label in (*encoders, reference) if label in rows}
        if reference in kept and len(kept) > 1:
            found[setting] = Shared(metric=metric, rows=kept)
    if not found:
        has = [
            f"{name} has {' and '.join(s.title for s, rows in panels.settings.items() if name in rows)}"
            for name in (*encoders, reference)
        ]
        raise UsageError(f"nothing to compare on: {'; '.join(has)}")
    return found


def _crossed(
    panels: Panels, shared: Mapping[Setting, Shared], reference: str, margin: float | None
) -> list[Row]:
    """Compare over common seeds and cases; Holm over all rows."""
    findings = {
        setting: panels.findings(setting, each.metric, reference, tuple(each.rows))
        for setting, each in shared.items()
    }
    where = [setting for setting, found in findings.items() for _ in found.against]
    rows = [row for found in findings.values() for row in found.against]
    scaled = [
        _with_margin(row, _scaled(shared[setting], margin))
        for setting, row in zip(where, rows, strict=True)
    ]
    corrected = judge.family_wise(scaled)
    return [
        _row(
            row.encoder,
            setting,
            shared[setting],
            judge.told(row, findings[setting].method),
            seeds=len(row.seeds),
        )
        for setting, row in zip(where, corrected, strict=True)
    ]


def _paper(shared: Mapping[Setting, Shared], reference: str) -> list[Row]:
    """Compare over runs, whatever their seeds; nothing is corrected."""
    return [
        _row(label, setting, each, told, seeds=len(runs))
        for setting, each in shared.items()
        for label, runs in each.rows.items()
        if label != reference
        for told in paper_mode.two_sample(
            _values(runs, each.metric),
            _values(each.rows[reference], each.metric),
            reference,
            is_higher_better(each.rows, each.metric),
        )
    ]


def _row(label: str, setting: Setting, each: Shared, told: Comparison, *, seeds: int) -> Row:
    first = each.rows[label][0]
    return Row(
        encoder=label,
        setting=setting,
        metric=each.metric,
        unit=_unit(each),
        mean=statistics.fmean(_values(each.rows[label], each.metric)),
        reference_mean=statistics.fmean(_values(each.rows[told.other], each.metric)),
        seeds=seeds,
        cases=first.evidence.cases,
        comparison=told,
    )


def _unit(each: Shared) -> str:
    first = next(iter(each.rows.values()))[0]
    return str(first.record.metrics[each.metric].get("unit", "score"))


def _scaled(each: Shared, margin: float | None) -> float | None:
    return None if margin is None else margin / scale(_unit(each))


def _with_margin(row: tested.Comparison, margin: float | None) -> tested.Comparison:
    if margin is None:
        return row
    return replace(row, margin=margin, tost_p=None if row.p is None else row.estimate.tost(margin))


def _across(
    shared: Mapping[Setting, Shared], reference: str, margin: float | None
) -> Iterator[Across]:
    """Compare across the datasets of one task and recipe, where there are at least two."""
    groups: dict[tuple[Setting, str], list[Shared]] = defaultdict(list)
    for setting, each in shared.items():
        groups[replace(setting, dataset=""), each.metric].append(each)
    for (_, metric), group in sorted(groups.items(), key=lambda item: item[0]):
        labels = set.intersection(*(set(each.rows) for each in group))
        if len(group) < 2 or len(labels) < 2:
            continue
        cases = max(each.rows[reference][0].evidence.cases for each in group)
        found = compare_across(
            {
                label: [statistics.fmean(_values(each.rows[label], metric)) for each in group]
                for label in sorted(labels)
            },
            reference,
            higher_is_better=is_higher_better(group[0].rows, metric),
            margin=default_margin(metric, cases) if margin is None else _scaled(group[0], margin),
            content=[
                run.sha256 for each in group for name in sorted(labels) for run in each.rows[name]
            ],
        )
        yield from (across(row, metric) for row in found)


def _values(runs: Sequence[Run], metric: str) -> list[float]:
    return [float(run.record.metrics[metric]["value"]) for run in runs]
