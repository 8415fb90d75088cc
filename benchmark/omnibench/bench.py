"""Measures on this machine: encoders, the store of frozen outputs, a task's parts, a grid."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from omnibench import environment
from omnibench.cards import SPLITS, Asset, Precision
from omnibench.cells import Cell, RunRequest
from omnibench.costs import SCHEMA, hours
from omnibench.errors import UsageError
from omnibench.features.cache import GIGABYTE, RESERVE, FeatureStore
from omnibench.features.readings import POOLED
from omnibench.features.rows import Column, Layout, StoredRows, computed_once
from omnibench.forward import CHUNK, autocast_to, flops_per_image, parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.harness import accelerator
from omnibench.interfaces import Measurable, Part, Progress, RunContext, Task
from omnibench.planning import encoder_handle, plan, recipe_of
from omnibench.registry import Registry

READ_BYTES = 2**26  # written to and read from the store's disk
ROW_BYTES = 2**22  # about the taps of one image at 448 pixels


def costs(
    request: RunRequest,
    registry: Registry,
    sizes: Sequence[int],
    rounds: int,
    progress: Progress,
) -> dict[str, list[dict[str, Any]]]:
    """Return cost records: of encoders, the store, and of a task's parts and runs if one is named.

    Without a dataset a task's parts are measured and no run is told of; no file that the task
    needs is looked for then.

    Raises:
        UsageError: Unknown names, sizes that no encoder takes, a task that cannot be measured.
    """
    device, precision = accelerator(request.device, request.precision)
    task = registry.task(request.task).card if request.task else None
    if task is not None and not isinstance(task, Measurable):
        raise UsageError(f"task {task.name!r} does not say what it is made of")
    cells = plan(request, registry, progress) if request.datasets else []
    # Nothing measured is read from the store, nor left in it.
    handles = [
        replace(encoder_handle(request, registry.encoder(name)), store=None)
        for name in request.encoders
    ]
    encoders = [
        record
        for handle in handles
        if not handle.card.end_to_end
        for record in _encoder(handle, sizes, device, precision, rounds, progress)
    ]
    parts, grid = [], []
    for cell in cells:
        measured = _parts(
            cell.task.card,
            cell.handle,
            cell.recipe,
            cell.assets,
            device,
            precision,
            rounds,
            progress,
        )
        parts += measured
        grid.append(_run(cell, measured))
    if task is not None and not cells:
        name = request.recipe or task.recipes[0]
        _, recipe = recipe_of(task, name, request.tuning, request.settings)
        for handle in handles:
            parts += _parts(task, handle, recipe, {}, device, precision, rounds, progress)
    return {
        "encoders": encoders,
        "store": [_store(request.cache / "features", rounds)],
        "parts": parts,
        "runs": grid,
    }


def timed(call: Callable[[], object], device: str, rounds: int) -> list[float]:
    """Return the seconds of some calls after one that is not counted.

    An accelerator's own clock is asked (CUDA events); it runs on while Python waits.
    """
    call()
    return [_on_gpu(call) if device.startswith("cuda") else _here(call) for _ in range(rounds)]


def _here(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _on_gpu(call: Callable[[], object]) -> float:
    new: Callable[..., Any] = torch.cuda.Event
    begin, end = new(enable_timing=True), new(enable_timing=True)
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def _encoder(
    handle: EncoderHandle,
    sizes: Sequence[int],
    device: str,
    precision: Precision,
    rounds: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Measure the forward pass of one encoder, small images first: a process's peak only grows."""
    encoder = handle.build(normalization="own", pool="checkpoint").freeze().to(device)
    records = []
    for size in sorted(sizes):
        if size % encoder.patch_size:  # 224 and 448 fit patches of 14 and 16
            raise UsageError(
                f"--size {size} is not a multiple of {encoder.patch_size}, the patch size of "
                f"{handle.card.name!r}"
            )
        progress.start(f"{handle.label} at {size} px", 1)
        environment.reset_peak_memory(device)
        images = torch.rand(CHUNK, 3, size, size, device=device)

        @torch.inference_mode()
        def forward(images: torch.Tensor = images) -> None:
            with autocast_to(precision, device):
                POOLED.read(encoder, images)

        seconds = timed(forward, device, rounds)
        records.append(
            {
                "encoder": handle.label,
                "size": size,
                "images_per_second": CHUNK / statistics.median(seconds),
                "slowest": CHUNK / max(seconds),
                "fastest": CHUNK / min(seconds),
                "gflop_per_image": flops_per_image(encoder, size, device) / 1e9,
                "parameters": parameter_counts(encoder).total,
                "peak_memory_gb": environment.peak_memory(device) / GIGABYTE,
                "precision": precision,
                "schema": SCHEMA,
                "weights_sha256": handle.weights.sha256,
                "environment": environment.describe(device),
            }
        )
        progress.advance()
    return records


def _store(root: Path, rounds: int) -> dict[str, Any]:
    """Write rows to the store's disk and read them in random order, as training does."""
    root.mkdir(parents=True, exist_ok=True)
    layout, count = Layout([Column("bytes", "uint8", (ROW_BYTES,))]), READ_BYTES // ROW_BYTES
    with tempfile.TemporaryDirectory(dir=root) as folder:
        store = FeatureStore(Path(folder), READ_BYTES + RESERVE)
        start = time.perf_counter()
        rows = computed_once(
            store,
            {"kind": "bench"},
            layout,
            count,
            lambda index: {"bytes": torch.zeros(len(index), ROW_BYTES, dtype=torch.uint8)},
            what="rows to measure the disk",
            advance=lambda _: None,
        )
        written = time.perf_counter() - start
        if not isinstance(rows, StoredRows):
            return {"folder": str(root), "write_gb_per_second": 0.0, "read_gb_per_second": 0.0}
        shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        order = torch.split(shuffled, CHUNK)
        seconds = timed(lambda: [rows.read(index) for index in order], "cpu", rounds)
    return {
        "folder": str(root),
        "write_gb_per_second": READ_BYTES / GIGABYTE / written,  # flushed, and checked once
        "read_gb_per_second": READ_BYTES / GIGABYTE / statistics.median(seconds),
    }


def _parts(
    task: Task,
    handle: EncoderHandle,
    recipe: Any,
    assets: Mapping[str, Asset],
    device: str,
    precision: Precision,
    rounds: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Time the parts of a run's work one after another."""
    assert isinstance(task, Measurable)
    chosen = task.precision(precision, recipe)
    context = RunContext(seed=0, device=device, precision=chosen, assets=assets)
    parts: Sequence[Part] = task.parts(replace(handle, store=None), recipe, context)
    progress.start(f"parts of {task.name}", len(parts))
    records = []
    for part in parts:
        seconds = timed(part.call, device, rounds)
        records.append(
            {
                "encoder": handle.label,
                "task": task.name,
                "stage": part.stage,
                "part": part.name,
                "seconds_per_image": statistics.median(seconds) / part.images,
                "fastest": min(seconds) / part.images,
                "slowest": max(seconds) / part.images,
                "schema": SCHEMA,
            }
        )
        progress.advance()
    return records


def _run(cell: Cell, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what all seeds of a cell will take."""
    train, val, test = (len(cell.dataset.split(name)) for name in SPLITS)
    seeds, epochs = len(cell.seeds), int(getattr(cell.recipe, "epochs", 0))
    stages = hours(parts, (train, val, test), seeds=seeds, epochs=epochs)
    return {
        "encoder": cell.handle.label,
        "task": cell.task.card.name,
        "dataset": cell.dataset.name,
        "recipe": cell.recipe_name,
        "images": train + val + test,
        "seeds": seeds,
        "epochs": epochs,
        **{f"{stage}_hours": value for stage, value in stages.items()},
        "hours": sum(stages.values()),
        "schema": SCHEMA,
    }
