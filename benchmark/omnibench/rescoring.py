"""`omnibench score`: every metric again, from stored predictions, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnibench.errors import IntegrityError, OmnibenchError, SetupError
from omnibench.interfaces import Metric, Task
from omnibench.predictions import SPLITS, require_cases
from omnibench.records import Arrays, RunRecord
from omnibench.registry import Registry
from omnibench.store import Store

TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What recomputing one record found."""

    cell: str
    seed: int | None
    verdict: str
    path: str
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def rescore(results: Path, registry: Registry) -> list[Rescored]:
    """Recompute the metrics of every record below a results folder.

    Raises:
        SetupError: If the folder holds no record at all.
    """
    store = Store(results)
    lines = [_rescore_one(store, path, registry) for path in store.paths()]
    if not lines:
        raise SetupError(
            f"{results} holds no records; `omnibench run --results {results} …` makes them"
        )
    return lines


def _rescore_one(store: Store, path: Path, registry: Registry) -> Rescored:
    try:
        record = store.read(path)
    except OmnibenchError as error:
        return Rescored(
            cell=path.name,
            seed=None,
            verdict=str(error),
            path=str(path),
            exit_code=error.exit_code,
        )
    cell = _cell_name(record)
    if record.status != "complete":
        kind = (record.failure or {}).get("kind", "")
        verdict = f"{record.status} ({kind}): nothing to score"
        return Rescored(cell=cell, seed=record.seed, verdict=verdict, path=str(path))
    try:
        verdict = recompute(store, record, registry)
    except OmnibenchError as error:
        return Rescored(
            cell=cell,
            seed=record.seed,
            verdict=str(error),
            path=str(path),
            exit_code=error.exit_code,
        )
    return Rescored(cell=cell, seed=record.seed, verdict=verdict, path=str(path))


def recompute(store: Store, record: RunRecord, registry: Registry) -> str:
    """Return how many metrics of a complete record its predictions give again.

    A metric that depends on a resource besides the predictions (`Metric.resource`) cannot be had
    where the resource is absent or another: the text then says so, `not recomputed: …`.

    Raises:
        IntegrityError: If one differs, or the predictions are not what the record describes.
        UsageError: If no installed plugin offers the record's task.
    """
    identity = record.identity["task"]
    task = registry.task(f"{identity['plugin']}/{identity['name']}").card
    if task.version != identity["version"]:
        raise IntegrityError(
            f"made by version {identity['version']} of task {task.name!r}, this is version "
            f"{task.version}: its numbers are not comparable; run the cell again"
        )
    try:
        computed = scores(task, store.predictions(record))
    except OmnibenchError:
        raise
    except Exception as error:  # noqa: BLE001 - a stranger's task may raise anything
        raise IntegrityError(
            f"task {task.name!r} cannot score these predictions ({type(error).__name__}: {error})"
        ) from None
    equal = 0
    lacking: dict[str, list[str]] = {}
    for split, stored in (("test", record.metrics), ("val", record.validation)):
        reasons = _require_equal(split, stored, {m.id: m for m in computed[split]})
        equal += len(stored) - len(reasons)
        for name, reason in reasons.items():
            lacking.setdefault(reason, []).append(f"{split} {name}")
    told = [f"{', '.join(names)} ({reason})" for reason, names in lacking.items()]
    return f"{equal} metrics equal" + (f"; not recomputed: {'; '.join(told)}" if told else "")


def scores(task: Task, predictions: Arrays) -> dict[str, Sequence[Metric]]:
    """Return the metrics of both splits, for a new record and for one that is looked at again.

    Raises:
        IntegrityError: If rows and ids contradict each other, arrays are missing, or the task
            finds no number or one twice.
    """
    require_cases(predictions)
    found: dict[str, Sequence[Metric]] = {}
    for split in SPLITS:
        try:
            found[split] = task.score(predictions, split)
        except KeyError as error:
            raise IntegrityError(f"the predictions lack {error}, which the task stores") from None
        names = [metric.id for metric in found[split]]
        if len(set(names)) < len(names):
            raise IntegrityError(f"{split}: task {task.name!r} gives a metric twice: {names}")
        odd = [metric.id for metric in found[split] if not math.isfinite(metric.value)]
        if odd:
            raise IntegrityError(f"{split}: {', '.join(odd)} of these predictions are not finite")
    return found


def _require_equal(
    split: str, stored: Mapping[str, Any], computed: Mapping[str, Metric]
) -> dict[str, str]:
    """Compare metrics; return which stored ones cannot be recomputed on this machine, and why.

    A metric that only this machine has the resource for is no difference.
    """
    reasons = {}
    odd = [name for name, metric in computed.items() if name not in stored and not metric.resource]
    for name, there in stored.items():
        here, resource = computed.get(name), there.get("resource", "")
        if here is None and resource:
            reasons[name] = f"needs {resource}, which is not on this machine"
        elif here is None:
            odd.append(name)
        elif abs(here.value - there["value"]) > TOLERANCE:
            if not here.resource or here.resource == resource:
                raise IntegrityError(
                    f"{split} {name}: the record states {there['value']:.9f}, its predictions "
                    f"give {here.value:.9f}"
                )
            reasons[name] = f"needs {resource}, here is {here.resource}"
    if odd:
        names = ", ".join(sorted(odd))
        raise IntegrityError(f"{split}: stored and recomputed metrics differ in {names}")
    return reasons


def _cell_name(record: RunRecord) -> str:
    identity = record.identity
    task = identity["task"]
    parts = (record.label, task["name"], identity["dataset"]["name"], task["recipe"])
    return " · ".join(map(str, parts))
