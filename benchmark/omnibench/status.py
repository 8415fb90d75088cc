"""What there is below a results folder: finished, running, unfinished, failed. Changes nothing."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omnibench.claims import State, standing
from omnibench.errors import IntegrityError, OmnibenchError, SetupError
from omnibench.recipe import digest
from omnibench.records import RunRecord
from omnibench.store import Store
from omnibench.summary import cell_names


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """One cell and variant.

    Args:
        cell: Its names in one line.
        finished: Seeds with a complete record.
        failed: Seeds whose last word is a failure, with kind and message.
        interrupted: Seeds that were stopped by hand and not finished since.
    """

    cell: str
    finished: tuple[int, ...]
    failed: Mapping[int, Mapping[str, Any]]
    interrupted: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A seed that a process has claimed.

    Args:
        run_id: Of the seed's first variant.
        title: The seed in words.
        by: Process and host.
        since: When it was claimed, UTC.
        heartbeat: Its last sign of life, UTC.
        state: `running`; `silent` for too long, on another host; or `gone`, the process is no more.
    """

    run_id: str
    title: str
    by: str
    since: str
    heartbeat: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """The kept state of a seed, from which the command that began it goes on.

    Args:
        run_id: Of the seed's first variant.
        title: The seed in words, where a record or claim tells.
        size: Bytes.
        written: When, UTC.
        running: Somebody is at it.
    """

    run_id: str
    title: str
    size: int
    written: str
    running: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything that is known of a results folder.

    `damaged` says why records could not be read; `exit_code` is then that of damaged files.
    """

    cells: Sequence[CellStatus]
    running: Sequence[Running]
    unfinished: Sequence[Unfinished]
    damaged: Sequence[str] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 if every record could be read."""
        return IntegrityError.exit_code if self.damaged else 0

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def look(results: Path) -> Status:
    """Look at a results folder; predictions are not read.

    Raises:
        SetupError: If there is nothing of ours.
    """
    records, damaged = _records(Store(results))
    running = [
        Running(
            run_id=run_id,
            title=str(claim.get("title", "")),
            by=f"process {claim.get('pid')} on {claim.get('host')}",
            since=str(claim.get("started", "")),
            heartbeat=str(claim.get("heartbeat", "")),
            state=state,
        )
        for run_id, claim, state in standing(results)
    ]
    unfinished = _unfinished(results, records, running)
    if not (records or damaged or running or unfinished):
        raise SetupError(
            f"{results} holds no records and nothing that runs; `omnibench run --results "
            f"{results} …` makes them"
        )
    return Status(cells=_cells(records), running=running, unfinished=unfinished, damaged=damaged)


def _records(store: Store) -> tuple[list[RunRecord], list[str]]:
    """Return the records that can be read, and why others cannot."""
    records, damaged = [], []
    for path in store.paths():
        try:
            records.append(store.read(path))
        except OmnibenchError as error:
            damaged.append(str(error))
    return records, damaged


def _cells(records: Sequence[RunRecord]) -> list[CellStatus]:
    runs: dict[tuple[str, ...], dict[str, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in _without_settled(records):
        runs[cell_names(record)][record.run_id].append(record)
    return [_cell(" · ".join(names), list(found.values())) for names, found in sorted(runs.items())]


def _without_settled(records: Sequence[RunRecord]) -> Iterator[RunRecord]:
    """Yield records, but no failure of a seed of which a variant was completed afterwards.

    A failure names no variant: it is one of all that were still to come.
    """
    latest: dict[str, str] = defaultdict(str)
    for record in records:
        if record.status == "complete":
            whole = _run_id_of_all(record)
            latest[whole] = max(latest[whole], _ended(record))
    for record in records:
        if record.status == "complete" or _ended(record) >= latest[_run_id_of_all(record)]:
            yield record


def _run_id_of_all(record: RunRecord) -> str:
    """Return the run id that failures of the record's seed have."""
    identity = record.identity
    return digest({**identity, "task": {**identity["task"], "variant": ""}})


def _ended(record: RunRecord) -> str:
    return str(record.timing.get("ended", ""))


def _cell(cell: str, runs: Sequence[Sequence[RunRecord]]) -> CellStatus:
    """Return what became of each run: one complete record counts more than any failure."""
    last = [max(run, key=_weight) for run in runs]
    return CellStatus(
        cell=cell,
        finished=tuple(sorted({r.seed for r in last if r.status == "complete"})),
        failed={r.seed: dict(r.failure or {}) for r in last if r.status == "failed"},
        interrupted=tuple(sorted({r.seed for r in last if r.status == "interrupted"})),
    )


def _weight(record: RunRecord) -> tuple[bool, str]:
    return record.status == "complete", _ended(record)


def _unfinished(
    results: Path, records: Sequence[RunRecord], running: Sequence[Running]
) -> list[Unfinished]:
    titles = {r.run_id: f"{' · '.join(cell_names(r))} · seed {r.seed}" for r in records}
    titles |= {claim.run_id: claim.title for claim in running}
    alive = {claim.run_id for claim in running if claim.state != "gone"}
    found = []
    for path in sorted((results / "unfinished").glob("[0-9a-f]*.pt")):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            facts = path.stat()
            written = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="seconds")
            found.append(
                Unfinished(
                    run_id=path.stem,
                    title=titles.get(path.stem, ""),
                    size=facts.st_size,
                    written=written,
                    running=path.stem in alive,
                )
            )
    return found
