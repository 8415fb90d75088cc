"""Results folders in, comparable runs out; whatever is left out is named, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omnibench.errors import OmnibenchError
from omnibench.recipe import digest
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench_leaderboard import refusals
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.evidence import examine
from omnibench_leaderboard.reading import Found, read, refusal
from omnibench_leaderboard.runs import (
    Collection,
    Exclusion,
    Missing,
    Run,
    encoder_of,
    setting_of,
    title_of,
)

CONFIRMED_WITHIN = 0.005  # of a fraction: half a point, the margin of equivalence (design.md 5.5)
RULES = (
    refusals.without_repeats,
    refusals.one_protocol,
    refusals.one_truth,
    refusals.one_code,
    refusals.without_idle_seeds,
    refusals.without_copies,
)


def collect(
    folders: Sequence[Path],
    registry: Registry,
    *,
    cache: Cache | None = None,
    confirm: Sequence[Path] = (),
) -> Collection:
    """Collect every run that may enter a table.

    Args:
        folders: Results folders.
        registry: Offers the tasks that recompute metrics.
        cache: Remembers what was recomputed; without one everything is computed again.
        confirm: Results folders of the board's maintainers; their runs raise the evidence of
            submitted runs of the same identity, and enter no table themselves.

    Raises:
        SetupError: If a folder is not there or none holds a record.
    """
    found, exclusions = read(folders)
    complete = [item for item in found if item.record.status == "complete"]
    runs, refused = _proven(complete, registry, cache)
    exclusions += refused
    for rule in RULES:
        runs, left = rule(runs)
        exclusions += left
    if confirm:
        runs = _confirmed(runs, collect(confirm, registry, cache=cache))
    return Collection(
        runs=tuple(sorted(runs, key=lambda run: run.sha256)),
        missing=_missing(found),
        exclusions=tuple(sorted(exclusions)),
    )


def _proven(
    complete: Sequence[Found], registry: Registry, cache: Cache | None
) -> tuple[list[Run], list[Exclusion]]:
    """Keep the records whose metrics their predictions give again."""
    runs, refused = [], []
    for item in complete:
        record, store = item.record, item.store
        try:
            evidence = examine(store, record, item.sha256, registry, cache)
        except OmnibenchError as error:
            path = store.folder(record.run_id) / f"{item.sha256}.json"
            refused.append(refusal(title_of(record), "unverified", error, store.root, path))
        else:
            runs.append(Run(record=record, sha256=item.sha256, root=store.root, evidence=evidence))
    return runs, refused


def _confirmed(runs: Sequence[Run], own: Collection) -> list[Run]:
    """Mark the runs that maintainers have run themselves, with metrics within the margin."""
    theirs = {run.run_id: run.record.metrics for run in own.runs}
    marked = []
    for run in runs:
        mine, rerun = run.record.metrics, theirs.get(run.run_id, {})
        agrees = bool(rerun) and all(
            name in rerun and abs(m["value"] - rerun[name]["value"]) <= CONFIRMED_WITHIN
            for name, m in mine.items()
        )
        marked.append(replace(run, confirmed=agrees))
    return marked


def _missing(found: Sequence[Found]) -> tuple[Missing, ...]:
    """Name every run that was begun and that no complete record finishes."""
    records = [item.record for item in found]
    # A failed run has no variant yet: it is finished if any variant of it is.
    done = {_asked(record) for record in records if record.status == "complete"}
    return tuple(
        sorted(
            {
                Missing(
                    title=title_of(record),
                    setting=setting_of(record),
                    encoder=encoder_of(record),
                    seed=record.seed,
                    reason=f"{record.status} ({(record.failure or {}).get('kind', 'unknown')})",
                )
                for record in records
                if record.status != "complete" and _asked(record) not in done
            }
        )
    )


def _asked(record: RunRecord) -> str:
    identity = {**record.identity, "task": {**record.identity["task"], "variant": ""}}
    return digest(identity)
