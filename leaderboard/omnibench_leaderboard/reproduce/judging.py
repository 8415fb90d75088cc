"""A verdict for every printed number of a study."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from omnibench.cards import SPLITS, PublishedValue
from omnibench.errors import UsageError
from omnibench.registry import Registry
from omnibench_leaderboard.formatting import scale
from omnibench_leaderboard.reproduce.grid import Key, Study, key_of
from omnibench_leaderboard.reproduce.matching import Match, match
from omnibench_leaderboard.reproduce.verdict import (
    Outcome,
    Test,
    beside_pool,
    beside_runs,
    beside_value,
    pooled,
    single_run,
)
from omnibench_leaderboard.runs import Collection, Run
from omnibench_leaderboard.stats.equivalence import margin

# The gravest first: a cell is what the gravest of its numbers is.
GRAVITY = (Outcome.DIFFERS, Outcome.UNDECIDED, Outcome.MATCHES)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One printed number, what was found, and the verdict.

    Args:
        value: The printed number.
        outcome: The verdict.
        reason: Why it is no better one.
        mean: Own mean on the printed scale, of a split's size the card's; None without runs.
        sd: Own SD over runs, of a pooled value over datasets too.
        n: Own runs.
        margin: Largest difference that counts as none, on the printed scale.
        test: What was tested.
    """

    value: PublishedValue
    outcome: Outcome
    reason: str = ""
    mean: float | None = None
    sd: float | None = None
    n: int = 0
    margin: float | None = None
    test: Test | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = asdict(self)
        told["outcome"] = self.outcome.value
        if self.test is not None:
            told["test"]["outcome"] = self.test.outcome.value
        return told


def judge(
    study: Study, collection: Collection, registry: Registry, failed: Mapping[Key, str]
) -> tuple[Judged, ...]:
    """Judge every printed number of the chosen tables, in their order.

    Args:
        study: The printed numbers.
        collection: What was run.
        registry: Offers the datasets.
        failed: Why cells that were to be run have no runs, where that is known.
    """
    return tuple(
        _size(study, registry, value)
        if not value.task
        else _pool(study, collection, value)
        if value.pooled
        else _single(value, match(study, collection, value), failed.get(key_of(value), ""))
        for value in study.values
    )


def of_cells(judged: Sequence[Judged]) -> Counter[Outcome]:
    """Count cells by the gravest verdict on their numbers; derived numbers are no cells."""
    found: dict[Key, list[Outcome]] = {}
    for row in judged:
        v = row.value
        if v.task and not v.pooled:
            found.setdefault(key_of(v), []).append(row.outcome)
    return Counter(_gravest(outcomes) for outcomes in found.values())


def _gravest(outcomes: Sequence[Outcome]) -> Outcome:
    return next((each for each in GRAVITY if each in outcomes), outcomes[0])


def _single(value: PublishedValue, found: Match, failed: str) -> Judged:
    if found.reason:
        return Judged(value=value, outcome=Outcome.NOT_COMPARABLE, reason=found.reason)
    if not found.runs:
        return Judged(value=value, outcome=Outcome.NOT_RUN, reason=failed)
    own = _values(value, found.runs)
    allowed = _margin(value, found.runs, found.runs[0].evidence.cases)
    if len(own) == 1:
        test = single_run(own[0], value.value)
    elif value.sd is None or not value.runs:
        test = beside_value(own, value.value, allowed)
    else:
        test = beside_runs(own, value.value, value.sd, value.runs, allowed)
    if found.failed and test.outcome is Outcome.MATCHES:
        reason = f"failed runs: {found.failed}; a match is not believed without them"
        test = replace(test, outcome=Outcome.UNDECIDED, reason=reason)
    sd = statistics.stdev(own) if len(own) > 1 else None
    return _told(value, test, statistics.fmean(own), sd, len(own), allowed)


def _pool(study: Study, collection: Collection, value: PublishedValue) -> Judged:
    """Judge a mean over datasets from the runs on each, or say which lack."""
    found = {name: match(study, collection, _of(value, name)) for name in value.pooled}
    few = [name for name, each in found.items() if len(each.runs) < 2]
    if few:
        reasons = {f"{name}: {each.reason}" for name, each in found.items() if each.reason}
        outcome = Outcome.NOT_COMPARABLE if reasons else Outcome.NOT_RUN
        reason = "; ".join(sorted(reasons)) or (
            f"two runs or more are needed on every dataset; {', '.join(few)} lack them"
        )
        return Judged(value=value, outcome=outcome, reason=reason)
    own = {name: _values(value, each.runs) for name, each in found.items()}
    cases = sum(each.runs[0].evidence.cases for each in found.values())
    allowed = _margin(value, next(iter(found.values())).runs, cases)
    mean, sd = pooled(own)
    test = beside_pool(own, value.value, allowed)
    return _told(value, test, mean, sd, sum(map(len, own.values())), allowed)


def _size(study: Study, registry: Registry, value: PublishedValue) -> Judged:
    """Judge a printed number of images: it is the dataset card's, or it is not."""
    try:
        card = registry.dataset(f"{study.origin}/{value.dataset}").card
    except UsageError as error:
        return Judged(value=value, outcome=Outcome.NOT_COMPARABLE, reason=str(error))
    if card.split_sizes is None:
        reason = f"the published split sizes of {card.name} are not known here"
        return Judged(value=value, outcome=Outcome.NOT_COMPARABLE, reason=reason)
    found = card.split_sizes[SPLITS.index(value.printed_metric)]
    outcome = Outcome.MATCHES if found == value.value else Outcome.DIFFERS
    return Judged(value=value, outcome=outcome, mean=float(found))


def _told(
    value: PublishedValue,
    test: Test,
    mean: float,
    sd: float | None,
    n: int,
    allowed: float | None,
) -> Judged:
    return Judged(
        value=value,
        outcome=test.outcome,
        reason=test.reason,
        mean=mean,
        sd=sd,
        n=n,
        margin=allowed,
        test=test,
    )


def _of(value: PublishedValue, dataset: str) -> PublishedValue:
    """Return what a pooled value asks of one dataset."""
    return replace(value, dataset=dataset, pooled=())


def _values(value: PublishedValue, runs: Sequence[Run]) -> list[float]:
    metrics = [run.record.metrics[value.metric] for run in runs]
    return [scale(str(m.get("unit"))) * float(m["value"]) for m in metrics]


def _margin(value: PublishedValue, runs: Sequence[Run], cases: int) -> float | None:
    found = margin(value.metric, cases)
    unit = str(runs[0].record.metrics[value.metric].get("unit"))
    return None if found is None else scale(unit) * found
