"""Runs cells: one encoder, one task, one dataset, a loop over seeds, records as they are known."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omnibench import environment
from omnibench.cards import Precision
from omnibench.cells import Cell, RunRequest
from omnibench.claims import Claims
from omnibench.errors import SetupError, UsageError
from omnibench.guards import require_sound
from omnibench.interfaces import Outcome, Progress, RunContext, Silent
from omnibench.recipe import digest
from omnibench.recording import LASTING, Recorder, code_of, made_by
from omnibench.records import Arrays, RunRecord
from omnibench.store import Store
from omnibench.unfinished import UnfinishedSeed

log = logging.getLogger(__name__)

WAITING_SECONDS = 1.0  # between two looks at what others are running

Found = tuple[RunRecord, Path]


def execute(
    cells: Sequence[Cell], request: RunRequest, progress: Progress | None = None
) -> Iterator[tuple[Cell, RunRecord, Path]]:
    """Run what is missing; yield each record, finished before or now, with its path.

    A seed that fails is recorded as failed and the others go on, unless the reason is one that
    every seed of the cell would meet. A seed whose process was killed goes on where it was. A
    seed that another process is at comes last, and its record is taken when it is there.

    Raises:
        IntegrityError: If a record that is already there is damaged; nothing is run then.
    """
    store = Store(request.results)
    device, asked = accelerator(request.device, request.precision)
    seeds = [
        _Seed(
            cell,
            RunContext(
                seed=seed,
                device=device,
                precision=cell.task.card.precision(asked, cell.recipe),
                progress=progress or Silent(),
                assets=cell.assets,
            ),
            store,
        )
        for cell in cells
        for seed in cell.seeds
    ]
    finished = {seed.run_id for seed in seeds if seed.is_finished(seed.old())}
    claims = Claims(request.results)
    hopeless: list[Cell] = []
    try:
        for seed in _in_turn(seeds, finished, claims):
            if seed.run_id not in finished and any(seed.cell is cell for cell in hopeless):
                continue
            failure = None
            for record, path in seed.records():
                failure = record.failure
                yield seed.cell, record, path
            if failure is not None and failure["kind"] in LASTING:
                hopeless.append(seed.cell)
    finally:
        claims.close()


@dataclass(frozen=True)
class _Seed:
    """One seed of one cell: what its records are, and how they come about."""

    cell: Cell
    context: RunContext
    store: Store

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that have a record each."""
        return self.cell.task.card.variants(self.cell.recipe)

    @property
    def run_id(self) -> str:
        """The first variant's, which stands for all: they are run together."""
        return digest(self.cell.identity(self.context, self.variants[0]))

    @property
    def title(self) -> str:
        """The seed in words."""
        cell = self.cell
        names = (cell.handle.label, cell.task.card.name, cell.dataset.name)
        return " · ".join([*names, f"seed {self.context.seed}"])

    def found(self) -> dict[str, Found]:
        """Return the complete records that exist, verified, by variant."""
        known = {
            variant: self.store.find(digest(self.cell.identity(self.context, variant)))
            for variant in self.variants
        }
        return {variant: found for variant, found in known.items() if found is not None}

    def old(self) -> dict[str, Found]:
        """Return the complete records that exist, and say how what is run now will differ."""
        found = self.found()
        for record, _ in found.values():
            _say_what_is_old(self.cell, record, self.context.device)
        return found

    def is_finished(self, found: Mapping[str, Found]) -> bool:
        """Tell whether every variant has its record."""
        return len(found) == len(self.variants)

    def records(self) -> Iterator[Found]:
        """Yield a record for each variant, those that exist first; run what is missing."""
        found = self.found()
        unfinished = UnfinishedSeed(
            self.store.root, self.run_id, self.title, made_by(self.cell, self.context.device)
        )
        for record, _ in found.values():
            _draw(self.cell, record, self.store.predictions(record), self.store)
        if self.is_finished(found):
            unfinished.discard()  # a process may have been killed before it could
        yield from found.values()
        if not self.is_finished(found):
            yield from self._run(found, unfinished)

    def _run(self, found: dict[str, Found], unfinished: UnfinishedSeed) -> Iterator[Found]:
        """Run; save and yield a record for each missing variant, or one that says why not."""
        cell, store = self.cell, self.store
        context = replace(self.context, unfinished=unfinished, finished=frozenset(found))
        recorder = Recorder(cell, context, unfinished)
        outcomes = _begun_when_asked(cell, context)
        while True:
            try:
                require_sound(cell.handle, cell.recipe, context)
                outcome = next(outcomes, None)
                if outcome is None:
                    return
                if outcome.variant in found:
                    continue
                cell.handle.require_unchanged()
                record = recorder.complete(outcome, kept=cell.keep_weights)
            except (Exception, KeyboardInterrupt) as error:
                record = recorder.failed(error)
                failed = _known_failure(record, store) or (record, store.save(record, {}))
                if record.status == "interrupted":
                    raise
                yield failed
                return
            # Claims are advisory: another process may have been quicker.
            known = store.find(record.run_id)
            if known is None:
                if cell.keep_weights and outcome.weights:
                    store.save_weights(outcome.weights)
                known = record, store.save(record, outcome.predictions)
                _draw(cell, record, outcome.predictions, store)
            found[outcome.variant] = known
            if self.is_finished(found):
                unfinished.discard()
            yield known
            recorder.restart()


def _begun_when_asked(cell: Cell, context: RunContext) -> Iterator[Outcome]:
    """Yield a task's outcomes; its `run` may be no generator, and fail as it is called."""
    yield from cell.task.card.run(cell.handle, cell.dataset, cell.recipe, context)


def _in_turn(seeds: Sequence[_Seed], finished: Container[str], claims: Claims) -> Iterator[_Seed]:
    """Yield each seed once it is nobody else's: first those that are free, then the others."""
    waiting = []
    for seed in seeds:
        if seed.run_id in finished:
            claims.clear(seed.run_id)
            yield seed
        elif claims.take(seed.run_id, seed.title):
            yield seed
            claims.release(seed.run_id)
        else:
            waiting.append(seed)
    for seed in waiting:
        log.info("%s is run by %s; waiting for it", seed.title, claims.holder(seed.run_id))
    while waiting:
        free = next((seed for seed in waiting if claims.take(seed.run_id, seed.title)), None)
        if free is None:
            time.sleep(WAITING_SECONDS)
            continue
        waiting.remove(free)
        yield free
        claims.release(free.run_id)


def _known_failure(record: RunRecord, store: Store) -> Found | None:
    """Return an earlier record that says the same, but for its time, or None."""
    wanted = replace(record, timing={}).record_sha256
    for path in sorted(store.folder(record.run_id).glob("*.json")):
        earlier = store.read(path)
        if replace(earlier, timing={}).record_sha256 == wanted:
            return earlier, path
    return None


def _draw(cell: Cell, record: RunRecord, predictions: Arrays, store: Store) -> None:
    """Draw the first seed's predictions; a picture that fails costs nobody a result."""
    if record.seed != cell.seeds[0] or store.picture(record.run_id).is_file():
        return
    parts = [record.label, cell.task.card.name, cell.dataset.name, f"seed {record.seed}"]
    title = " · ".join(
        [*parts, variant] if (variant := record.identity["task"]["variant"]) else parts
    )
    try:
        png = cell.task.card.draw(cell.dataset, predictions, title)
        if png is not None:
            store.save_picture(record.run_id, png)
    except SetupError as error:
        log.warning("%s", error)
    except Exception:
        log.warning("the picture of %s could not be drawn", title, exc_info=True)


def _say_what_is_old(cell: Cell, record: RunRecord, device: str) -> None:
    now = {
        "code": code_of(cell)["semantic_sha256"],
        "packages": environment.describe(device)["packages_sha256"],
    }
    for what, made_by_it in record.software.items():
        if made_by_it != now[what]:
            log.warning(
                "seed %d was run by other %s than today's and is kept; seeds that are run now are "
                "not pooled with it (MIXED_CODE); --results DIR runs all anew",
                record.seed,
                what,
            )
    if cell.keep_weights and not record.weights:
        log.warning(
            "seed %d was run without --keep-weights and is kept; --results DIR runs it anew",
            record.seed,
        )


def accelerator(device: str, precision: str) -> tuple[str, Precision]:
    """Resolve `auto`: an accelerator with mixed precision where there is one, else CPU in fp32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    # use_deterministic_algorithms(True, warn_only=True), which also imports the compiler: seconds
    torch.set_deterministic_debug_mode("warn")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        count, index = torch.cuda.device_count(), int(device.partition(":")[2] or 0)
        if index >= count:
            raise SetupError(
                f"--device {device}: torch sees {count} CUDA devices; use --device cpu"
            )
    if precision == "auto":
        precision = "fp16" if device.startswith("cuda") else "fp32"
    if device == "cpu" and precision == "fp16":
        raise UsageError("--precision fp16 needs an accelerator; on the CPU use fp32 or bf16")
    chosen: Precision = precision  # type: ignore[assignment]
    return device, chosen
