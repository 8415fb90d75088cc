"""Columns of a board: one for every metric of every setting, the headline ones judged."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from omnibench.cards import PublishedValue
from omnibench.offers import Offer
from omnibench_leaderboard import facts, judge, published, recipes
from omnibench_leaderboard.board import Cell, Column
from omnibench_leaderboard.board_json import decoded
from omnibench_leaderboard.cache import Cache, source_digest
from omnibench_leaderboard.panels import Panels, Rows, is_higher_better
from omnibench_leaderboard.runs import Run, Setting
from omnibench_leaderboard.stats.equivalence import margin
from omnibench_leaderboard.stats.ranks import display_order

ROUNDING = 10  # decimals; means that differ by less share a rank


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is cached of a column: everything that predictions were read for."""

    labels: tuple[str, ...]
    judgements: tuple[judge.Judgement, ...]
    clusters: int | None


def columns(
    panels: Panels,
    setting: Setting,
    known: Sequence[Offer[PublishedValue]],
    *,
    reference: str | None = None,
    cache: Cache | None = None,
) -> list[Column]:
    """Return the columns of one setting, the headline first.

    What is measured on another grid than the headline is left to the records, unless a paper
    prints it, as in the table that `omnibench run` ends with.

    Args:
        panels: What statistics see.
        setting: Task, dataset, recipe, tuning and variant.
        known: Published values of all plugins.
        reference: Label of the encoder named before results were seen.
        cache: Remembers what statistics found.
    """
    made = []
    chosen, *_ = panels.metrics(setting)
    for metric in panels.metrics(setting):
        rows = panels.rows(setting, metric)
        headline = metric == chosen
        if not rows or not (_same_grid(metric, chosen) or _is_printed(known, setting, metric)):
            continue
        best = _best(rows, metric)
        blank = Judged(labels=(), judgements=(), clusters=None)
        judged = _judged(panels, setting, metric, best, reference, cache) if headline else blank
        runs = [run for cell in rows.values() for run in cell]
        first = runs[0]
        cases = first.evidence.cases
        made.append(
            Column(
                setting=setting,
                metric=metric,
                unit=str(first.record.metrics[metric].get("unit", "score")),
                higher_is_better=is_higher_better(rows, metric),
                headline=headline,
                cases=cases,
                clusters=judged.clusters,
                margin=margin(metric, cases),
                best=best,
                dataset=facts.dataset(first),
                notes=facts.column_notes(runs),
                cells=_cells(panels, setting, metric, rows, judged),
                published=published.beside(known, runs, metric, headline=headline),
            )
        )
    return made


def code() -> dict[str, str]:
    """Return what statistics depend on besides records: their source, and versions."""
    here = __package__
    modules = [f"{here}.{name}" for name in ("stats", "cases", "judge", "overall", "seeds_only")]
    return {
        "code": source_digest("omnibench.metrics", *modules),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _judged(
    panels: Panels,
    setting: Setting,
    metric: str,
    best: str,
    reference: str | None,
    cache: Cache | None,
) -> Judged:
    rows = panels.rows(setting, metric)
    question: dict[str, Any] = {
        "what": "column",
        **code(),
        "metric": metric,
        "reference": reference or "",
        "rows": {label: [run.sha256 for run in runs] for label, runs in rows.items()},
        "failed": {label: list(panels.failed(setting, label)) for label in rows},
    }
    if cache is not None and (known := cache.get(question)) is not None:
        kept: Judged = decoded(known, Judged)
        return kept
    found = judge.judge(panels.findings(setting, metric, reference), best)
    panel = panels.panel(setting, metric)
    judged = Judged(
        labels=tuple(found),
        judgements=tuple(found.values()),
        clusters=None if panel is None or panel.cases.groups is None else panel.cases.units,
    )
    if cache is not None:
        cache.put(question, asdict(judged))
    return judged


def _cells(
    panels: Panels, setting: Setting, metric: str, rows: Rows, judged: Judged
) -> tuple[Cell, ...]:
    found = dict(zip(judged.labels, judged.judgements, strict=True))
    sign = 1 if is_higher_better(rows, metric) else -1
    means = {label: round(sign * _mean(runs, metric), ROUNDING) for label, runs in rows.items()}
    tied = {label for label, judgement in found.items() if judgement.tied}
    return tuple(
        _cell(
            label,
            rows[label],
            metric,
            missing=panels.failed(setting, label),
            rank=1 + sum(other > means[label] for other in means.values()),
            judgement=found.get(label, judge.Judgement()),
        )
        for label in display_order(means, tied)
    )


def _cell(
    label: str,
    runs: Sequence[Run],
    metric: str,
    *,
    missing: tuple[int, ...],
    rank: int,
    judgement: judge.Judgement,
) -> Cell:
    values = tuple(float(run.record.metrics[metric]["value"]) for run in runs)
    identity = runs[0].record.identity
    return Cell(
        encoder=label,
        mean=statistics.fmean(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        seeds=tuple(run.seed for run in runs),
        values=values,
        missing=missing,
        interval=judgement.interval,
        rank=rank,
        tied=judgement.tied,
        rank_interval=judgement.rank_interval,
        against_best=judgement.against_best,
        against_reference=judgement.against_reference,
        flags=(*judgement.flags, *facts.cell_flags(runs)),
        evidence=min(run.level for run in runs),
        records=tuple(run.place for run in runs),
        command=recipes.command(runs),
        device=identity["device"],
        precision=identity["precision"],
        cost=facts.cost(runs),
    )


def _same_grid(metric: str, headline: str) -> bool:
    return metric.partition("@")[2] in ("", headline.partition("@")[2])


def _is_printed(known: Sequence[Offer[PublishedValue]], setting: Setting, metric: str) -> bool:
    return any(
        (offer.card.task, offer.card.dataset, offer.card.metric)
        == (setting.task, setting.dataset, metric)
        for offer in known
    )


def _best(rows: Rows, metric: str) -> str:
    """Return the label of the best mean; of equal ones that which `Panel` would take."""
    sign = 1 if is_higher_better(rows, metric) else -1
    return max(rows, key=lambda label: (sign * _mean(rows[label], metric), label))


def _mean(runs: Sequence[Run], metric: str) -> float:
    return statistics.fmean(float(run.record.metrics[metric]["value"]) for run in runs)
