"""`omnibench score`: every metric again, from stored predictions, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnibench.errors import IntegrityError, OmnibenchError, SetupError
from omnibench.records import RunRecord
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
    arrays = store.predictions(record)
    count = 0
    for split, stored in (("test", record.metrics), ("val", record.validation)):
        try:
            computed = {m.id: m.value for m in task.score(arrays, split)}
        except KeyError as error:
            raise IntegrityError(f"the predictions lack {error}, which the task stores") from None
        _require_equal(split, stored, computed)
        count += len(computed)
    return f"{count} metrics equal"


def _require_equal(split: str, stored: Mapping[str, Any], computed: Mapping[str, float]) -> None:
    if set(stored) != set(computed):
        names = ", ".join(sorted(set(stored) ^ set(computed)))
        raise IntegrityError(f"{split}: stored and recomputed metrics differ in {names}")
    for name, value in computed.items():
        if abs(value - stored[name]["value"]) > TOLERANCE:
            raise IntegrityError(
                f"{split} {name}: the record states {stored[name]['value']:.9f}, its predictions "
                f"give {value:.9f}"
            )


def _cell_name(record: RunRecord) -> str:
    identity = record.identity
    task = identity["task"]
    parts = (record.label, task["name"], identity["dataset"]["name"], task["recipe"])
    return " · ".join(map(str, parts))
