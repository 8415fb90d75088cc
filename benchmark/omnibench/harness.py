"""Runs cells: one encoder, one task, one dataset, a loop over seeds, records as they are known."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omnibench import environment
from omnibench.errors import RunFailed, SetupError, UsageError
from omnibench.interfaces import Metric, Outcome, Precision, Progress, RunContext, Silent
from omnibench.planning import Cell, RunRequest
from omnibench.recipe import as_document, digest
from omnibench.records import RunRecord, Status
from omnibench.store import Store

log = logging.getLogger(__name__)


def execute(
    cells: Sequence[Cell], request: RunRequest, progress: Progress | None = None
) -> Iterator[tuple[Cell, RunRecord, Path]]:
    """Run what is missing; yield each record, finished before or now, with its path.

    A seed that fails is recorded as failed and the others go on.
    """
    store = Store(request.results)
    device, resolved = _accelerator(request.device, request.precision)
    for cell in cells:
        for seed in cell.seeds:
            found = _finished(cell, seed, store, device, resolved)
            if found is not None:
                yield from ((cell, record, path) for record, path in found)
                continue
            context = RunContext(
                seed=seed, device=device, precision=resolved, progress=progress or Silent()
            )
            for record, path in _run(cell, context, store):
                yield cell, record, path


def _run(cell: Cell, context: RunContext, store: Store) -> Iterator[tuple[RunRecord, Path]]:
    """Run one seed; save and yield a record for each outcome, or one that says why not."""
    import torch

    task = cell.task.card
    started = datetime.now(UTC)
    clock = time.perf_counter()
    if context.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(context.device)
    try:
        for outcome in task.run(cell.handle, cell.dataset, cell.recipe, context):
            seconds = time.perf_counter() - clock
            record = _record(cell, context, outcome, started, seconds)
            path = store.save(record, outcome.predictions)
            if cell.keep_weights and outcome.weights:
                store.save_weights(record.run_id, outcome.weights)
            _picture(cell, record, outcome, store)
            yield record, path
            clock = time.perf_counter()
    except (RunFailed, torch.OutOfMemoryError, MemoryError, KeyboardInterrupt) as error:
        failure = _failure(error)
        status: Status = "interrupted" if failure["kind"] == "interrupted" else "failed"
        record = _base(cell, context, "", started, time.perf_counter() - clock)
        record = replace(record, status=status, failure=failure)
        path = store.save(record, {})
        if status == "interrupted":
            raise
        log.error("seed %d failed: %s", context.seed, failure["message"])
        yield record, path


def _failure(error: BaseException) -> dict[str, str]:
    if isinstance(error, RunFailed):
        return {"kind": error.kind, "message": str(error)}
    if isinstance(error, KeyboardInterrupt):
        return {"kind": "interrupted", "message": "interrupted by the user"}
    return {
        "kind": "oom",
        "message": "out of memory. A smaller --set batch_size=… fits, but is another protocol; "
        "--precision bf16 or a larger device keep the batch",
    }


def _record(
    cell: Cell, context: RunContext, outcome: Outcome, started: datetime, seconds: float
) -> RunRecord:
    """Score an outcome with the function that `omnibench score` uses, and describe it."""
    task = cell.task.card
    base = _base(cell, context, outcome.variant, started, seconds)
    return replace(
        base,
        status="complete",
        metrics=_metrics(task.score(outcome.predictions, "test")),
        validation=_metrics(task.score(outcome.predictions, "val")),
        predictions=Store.prepare(outcome.predictions),
        details=dict(outcome.details),
        cost={
            "params_total": outcome.params_total,
            "params_trainable": outcome.params_trainable,
            "flops_per_image": outcome.flops_per_image,
            "images_per_second": outcome.images_per_second,
            "peak_memory_bytes": environment.peak_memory(context.device),
            "seconds": seconds,
        },
    )


def _base(
    cell: Cell, context: RunContext, variant: str, started: datetime, seconds: float
) -> RunRecord:
    """Return what a record says whatever the outcome."""
    handle, card = cell.handle, cell.card
    build = handle.card.build_end_to_end if handle.card.end_to_end else handle.card.build
    builder = getattr(build, "func", build)  # cards often hold a functools.partial
    modules = (type(cell.task.card).__module__, getattr(builder, "__module__", ""))
    return RunRecord(
        identity=cell.identity(context.seed, variant, context.device, context.precision),
        status="failed",
        label=handle.label,
        recipe=as_document(cell.recipe),
        changes=dict(cell.changes),
        dataset={
            "kind": card.kind,
            "classes": list(cell.dataset.classes),
            "modality": card.modality,
            "licence": card.licence,
            "commercial": card.commercial,
            "source_url": card.source_url,
            "embedded": card.embedded,
            "notes": card.notes,
            "facts": dict(cell.dataset.facts),
        },
        encoder={
            "family": handle.card.family,
            "licence": handle.card.licence,
            "commercial": handle.card.commercial,
            "paper": handle.card.paper,
            "repository": handle.card.source.repo if handle.card.source else None,
            "revision": handle.weights.revision,
            "key_coverage": handle.key_coverage,
            "plugin_version": cell.encoder.plugin.version,
        },
        environment=environment.describe(context.device),
        code=environment.code(modules),
        timing={
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
        },
    )


def _metrics(metrics: Sequence[Metric]) -> dict[str, Any]:
    return {
        m.id: {"value": m.value, "unit": m.unit, "higher_is_better": m.higher_is_better}
        for m in metrics
    }


def _picture(cell: Cell, record: RunRecord, outcome: Outcome, store: Store) -> None:
    """Draw the first seed's predictions; a picture that fails costs nobody a result."""
    if record.seed != cell.seeds[0]:
        return
    title = f"{record.label} · {cell.task.card.name} · {cell.dataset.name} · seed {record.seed}"
    try:
        png = cell.task.card.draw(cell.dataset, outcome.predictions, title)
    except Exception:
        log.warning("the picture of %s could not be drawn", title, exc_info=True)
        return
    if png is not None:
        store.save_picture(record.run_id, png)


def _finished(
    cell: Cell, seed: int, store: Store, device: str, precision: str
) -> list[tuple[RunRecord, Path]] | None:
    """Return the complete records of a seed, or None if any of its variants is missing."""
    found = []
    for variant in cell.task.card.variants(cell.recipe):
        run_id = digest(cell.identity(seed, variant, device, precision))
        record = store.find(run_id)
        if record is None:
            return None
        found.append(record)
    return found


def _accelerator(device: str, precision: str) -> tuple[str, Precision]:
    """Resolve `auto`: an accelerator with mixed precision where there is one, else CPU in fp32."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SetupError(f"--device {device}: torch sees no CUDA device; use --device cpu")
    if precision == "auto":
        precision = "fp16" if device.startswith("cuda") else "fp32"
    if device == "cpu" and precision == "fp16":
        raise UsageError("--precision fp16 needs an accelerator; on the CPU use fp32 or bf16")
    chosen: Precision = precision  # type: ignore[assignment]
    return device, chosen
