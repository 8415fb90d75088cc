"""Runs cells: one encoder, one task, one dataset, a loop over seeds, records as they are known."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from omnibench.cards import Precision
from omnibench.errors import SetupError, UsageError
from omnibench.guards import require_sound
from omnibench.interfaces import Progress, RunContext, Silent
from omnibench.planning import Cell, RunRequest
from omnibench.recipe import digest
from omnibench.recording import LASTING, Recorder
from omnibench.records import Arrays, RunRecord
from omnibench.store import Store

log = logging.getLogger(__name__)

Found = list[tuple[RunRecord, Path]]


def execute(
    cells: Sequence[Cell], request: RunRequest, progress: Progress | None = None
) -> Iterator[tuple[Cell, RunRecord, Path]]:
    """Run what is missing; yield each record, finished before or now, with its path.

    A seed that fails is recorded as failed and the others go on, unless the reason is one that
    every seed of the cell would meet.

    Raises:
        IntegrityError: If a record that is already there is damaged; nothing is run then.
    """
    store = Store(request.results)
    device, asked = accelerator(request.device, request.precision)
    contexts = {
        (number, seed): RunContext(
            seed=seed,
            device=device,
            precision=cell.task.card.precision(asked, cell.recipe),
            progress=progress or Silent(),
            assets=cell.assets,
        )
        for number, cell in enumerate(cells)
        for seed in cell.seeds
    }
    found = {key: _finished(cells[key[0]], context, store) for key, context in contexts.items()}
    for number, cell in enumerate(cells):
        for seed in cell.seeds:
            records = found[number, seed] or _run(cell, contexts[number, seed], store)
            failure = None
            for record, path in records:
                failure = record.failure
                yield cell, record, path
            if failure is not None and failure["kind"] in LASTING:
                break


def _run(cell: Cell, context: RunContext, store: Store) -> Iterator[tuple[RunRecord, Path]]:
    """Run one seed; save and yield a record for each outcome, or one that says why not."""
    recorder = Recorder(cell, context)
    outcomes = cell.task.card.run(cell.handle, cell.dataset, cell.recipe, context)
    while True:
        try:
            require_sound(cell.handle, cell.recipe, context)
            outcome = next(outcomes, None)
            if outcome is None:
                return
            cell.handle.require_unchanged()
            record = recorder.complete(outcome, kept=cell.keep_weights)
        except (Exception, KeyboardInterrupt) as error:
            record = recorder.failed(error)
            path = store.save(record, {})
            if record.status == "interrupted":
                raise
            yield record, path
            return
        if cell.keep_weights and outcome.weights:
            store.save_weights(outcome.weights)
        path = store.save(record, outcome.predictions)
        _draw(cell, record, outcome.predictions, store)
        yield record, path
        recorder.restart()


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
    except Exception:
        log.warning("the picture of %s could not be drawn", title, exc_info=True)
        return
    if png is not None:
        store.save_picture(record.run_id, png)


def _finished(cell: Cell, context: RunContext, store: Store) -> Found | None:
    """Return the complete records of a seed, or None if any of its variants is missing."""
    found: Found = []
    for variant in cell.task.card.variants(cell.recipe):
        known = store.find(digest(cell.identity(context, variant)))
        if known is None:
            return None
        found.append(known)
    for record, _ in found:
        _say_what_is_old(cell, context, record)
        _draw(cell, record, store.predictions(record), store)
    return found


def _say_what_is_old(cell: Cell, context: RunContext, record: RunRecord) -> None:
    if record.code.get("semantic_sha256") != Recorder(cell, context).code["semantic_sha256"]:
        log.warning(
            "seed %d was run by other code than today's and is kept; --results DIR runs it anew",
            record.seed,
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

    torch.use_deterministic_algorithms(True, warn_only=True)
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
