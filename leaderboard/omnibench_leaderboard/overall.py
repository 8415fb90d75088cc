"""Encoders across the datasets of one task and recipe: ranks, and how far to believe them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from omnibench_leaderboard.board import Across, Column, Overall, Standing
from omnibench_leaderboard.board_json import decoded
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.columns import code
from omnibench_leaderboard.panels import Panels
from omnibench_leaderboard.runs import Setting
from omnibench_leaderboard.stats.across import AcrossDatasets, compare_across, complete
from omnibench_leaderboard.stats.flags import ALPHA, Code, Flag
from omnibench_leaderboard.stats.friedman import (
    Friedman,
    cliques,
    critical_difference,
    friedman,
    nemenyi,
)
from omnibench_leaderboard.stats.ranks import (
    RankStability,
    by_cases,
    by_datasets,
    by_seeds,
    winners_without,
)
from omnibench_leaderboard.stats.statistic import Floats

MIN_DATASETS = 2
MIN_COMMON_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Table:
    """A complete table of means.

    Args:
        columns: One a dataset, N in all.
        labels: k encoders.
        means: Floats [N, k].
    """

    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    means: Floats

    @property
    def content(self) -> list[str]:
        """Paths of all records that the means come from; random draws derive from them."""
        return [
            record
            for column in self.columns
            for cell in column.cells
            if cell.encoder in self.labels
            for record in cell.records
        ]


def overall(
    panels: Panels, columns: Sequence[Column], reference: str | None, cache: Cache | None
) -> tuple[Overall, ...]:
    """Rank encoders across datasets, one ranking for each task, recipe, tuning and metric."""
    groups: dict[tuple[Setting, str], list[Column]] = defaultdict(list)
    for column in columns:
        groups[replace(column.setting, dataset=""), column.metric].append(column)
    found = []
    for (setting, metric), group in sorted(groups.items()):
        table = _table(group)
        if len(table.columns) >= MIN_DATASETS and len(table.labels) > 1:
            found.append(_cached(panels, setting, metric, group, table, reference, cache))
    return tuple(found)


def _table(group: Sequence[Column]) -> Table:
    """Keep the datasets and encoders that form a complete table; nothing is imputed."""
    labels = sorted({cell.encoder for column in group for cell in column.cells})
    scores = np.full((len(group), len(labels)), np.nan)
    for row, column in enumerate(group):
        for cell in column.cells:
            scores[row, labels.index(cell.encoder)] = cell.mean
    kept, encoders = complete(scores)
    return Table(
        columns=tuple(group[row] for row in kept),
        labels=tuple(labels[k] for k in encoders),
        means=scores[np.ix_(kept, encoders)],
    )


def _cached(
    panels: Panels,
    setting: Setting,
    metric: str,
    group: Sequence[Column],
    table: Table,
    reference: str | None,
    cache: Cache | None,
) -> Overall:
    question: dict[str, Any] = {
        "what": "overall",
        **code(),
        "metric": metric,
        "reference": reference or "",
        "labels": list(table.labels),
        "records": table.content,
        "all": [[c.setting.dataset, *(cell.encoder for cell in c.cells)] for c in group],
    }
    if cache is not None and (known := cache.get(question)) is not None:
        kept: Overall = decoded(known, Overall)
        return kept
    made = _rank(panels, setting, metric, group, table, reference)
    if cache is not None:
        cache.put(question, asdict(made))
    return made


def _rank(
    panels: Panels,
    setting: Setting,
    metric: str,
    group: Sequence[Column],
    table: Table,
    reference: str | None,
) -> Overall:
    first = table.columns[0]
    higher = first.higher_is_better
    by_data = by_datasets(table.means, higher_is_better=higher, content=table.content)
    left_out = _left_out(group, table)
    tested = friedman(table.means, higher) if len(table.labels) > 2 else None
    gaps = nemenyi(tested) if tested is not None else None
    flags = [Flag(Code.INCOMPLETE, f"{len(left_out)}")] if left_out else []
    flags += list(tested.flags) if tested is not None else []
    return Overall(
        setting=setting,
        metric=metric,
        unit=first.unit,
        higher_is_better=higher,
        datasets=tuple(column.setting.dataset for column in table.columns),
        left_out=left_out,
        chi2=tested.chi2 if tested else None,
        f=tested.f if tested and tested.f is not None and np.isfinite(tested.f) else None,
        p=tested.p if tested else None,
        critical_difference=critical_difference(tested.encoders, tested.datasets)
        if tested
        else None,
        standings=_standings(panels, table, tested, by_data),
        nemenyi=() if gaps is None else tuple(tuple(map(float, row)) for row in gaps),
        labels=table.labels,
        cliques=()
        if tested is None or gaps is None
        else tuple(
            tuple(table.labels[i] for i in clique) for clique in cliques(tested.ranks, gaps < ALPHA)
        ),
        against=_against(table, reference, higher),
        winners_without=tuple(
            tuple(table.labels[i] for i in winners)
            for winners in winners_without(table.means, higher_is_better=higher)
        ),
        tau=by_data.tau,
        flags=tuple(map(str, flags)),
    )


def _left_out(group: Sequence[Column], table: Table) -> tuple[str, ...]:
    datasets = {c.setting.dataset for c in group} - {c.setting.dataset for c in table.columns}
    labels = {cell.encoder for c in group for cell in c.cells} - set(table.labels)
    return (*sorted(datasets), *sorted(labels))


def _standings(
    panels: Panels, table: Table, tested: Friedman | None, by_data: RankStability
) -> tuple[Standing, ...]:
    """Return one standing an encoder, best mean rank first."""
    cases, seeds = _by_cases(panels, table), _by_seeds(table)
    ranks = _mean_ranks(table) if tested is None else tested.ranks
    rows = [
        Standing(
            encoder=label,
            mean=float(statistics.fmean(table.means[:, k])),
            mean_rank=float(ranks[k]),
            rank=int(by_data.rank[k]),
            first=float(by_data.first[k]),
            rank_low=int(by_data.low[k]),
            rank_high=int(by_data.high[k]),
            first_by_cases=None if cases is None else float(cases.first[k]),
            first_by_seeds=None if seeds is None else float(seeds.first[k]),
        )
        for k, label in enumerate(table.labels)
    ]
    return tuple(sorted(rows, key=lambda row: (row.mean_rank, row.encoder)))


def _mean_ranks(table: Table) -> Floats:
    from scipy.stats import rankdata

    signed = -table.means if table.columns[0].higher_is_better else table.means
    return np.asarray(rankdata(np.round(signed, 10), axis=1).mean(axis=0))


def _by_cases(panels: Panels, table: Table) -> RankStability | None:
    """Rank on resampled cases; None if some metric has no form a case."""
    resampled = []
    for column in table.columns:
        panel = panels.panel(column.setting, column.metric)
        if panel is None:
            return None
        resampled.append(
            np.stack([panel.resampled(label).mean(axis=1) for label in table.labels], axis=1)
        )
    drawn = np.stack(resampled, axis=1)  # [R, N, k]
    defined = drawn[~np.isnan(drawn).any(axis=(1, 2))]
    higher = table.columns[0].higher_is_better
    return by_cases(table.means, defined, higher_is_better=higher) if len(defined) else None


def _by_seeds(table: Table) -> RankStability | None:
    """Rank on resampled seeds; None with fewer than three common seeds on some dataset."""
    values = []
    for column in table.columns:
        cells = {
            cell.encoder: dict(zip(cell.seeds, cell.values, strict=True)) for cell in column.cells
        }
        common = sorted(set.intersection(*(set(cells[label]) for label in table.labels)))
        if len(common) < MIN_COMMON_SEEDS:
            return None
        values.append([[cells[label][seed] for label in table.labels] for seed in common])
    higher = table.columns[0].higher_is_better
    return by_seeds(values, higher_is_better=higher, content=table.content)


def _against(table: Table, reference: str | None, higher: bool) -> tuple[Across, ...]:
    if reference not in table.labels:
        return ()
    margins = [column.margin for column in table.columns]
    scores = {label: table.means[:, k] for k, label in enumerate(table.labels)}
    rows = compare_across(
        scores,
        str(reference),
        higher_is_better=higher,
        # The widest margin of the datasets would call too much equivalent.
        margin=min((m for m in margins if m is not None), default=None)
        if None not in margins
        else None,
        content=table.content,
    )
    return tuple(across(row, table.columns[0].metric) for row in rows)


def across(row: AcrossDatasets, metric: str) -> Across:
    """Return a comparison across datasets in the board's terms."""
    posterior = row.posterior
    return Across(
        encoder=row.encoder,
        reference=row.reference,
        metric=metric,
        datasets=row.datasets,
        wins=row.wins,
        ties=row.ties,
        losses=row.losses,
        difference=None if row.mean is None else row.mean.value,
        interval=None if row.mean is None else row.mean.interval(),
        hodges_lehmann=row.hodges_lehmann,
        method=row.test.method,
        p=row.test.p,
        p_adjusted=row.p_adjusted,
        family=row.family,
        tost_p=row.tost_p,
        probabilities=None
        if posterior is None
        else (posterior.worse, posterior.equivalent, posterior.better),
        verdict=row.verdict.value,
        flags=tuple(map(str, row.flags)),
    )
