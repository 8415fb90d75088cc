"""From a run's outcome, or the reason why there is none, to its record."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from omnibench import environment
from omnibench.cells import Cell
from omnibench.errors import (
    IntegrityError,
    OmnibenchError,
    PluginError,
    RunFailed,
    SetupError,
    UsageError,
    ran_out_of_memory,
)
from omnibench.handle import module_of
from omnibench.interfaces import Metric, Outcome, RunContext
from omnibench.predictions import SPLITS
from omnibench.records import Arrays, RunRecord, require_readable
from omnibench.rescoring import scores
from omnibench.store import Store
from omnibench.subset import reader_of
from omnibench.summary import EXIT_CODES
from omnibench.unfinished import UnfinishedSeed

log = logging.getLogger(__name__)

LASTING = frozenset(EXIT_CODES)  # kinds of failure that every seed of a cell would meet
KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (UsageError, "usage"),
    (PluginError, "plugin"),
    (IntegrityError, "integrity"),
    (SetupError, "setup"),
    (KeyboardInterrupt, "interrupted"),
)
OUT_OF_MEMORY = (
    "out of memory. A smaller --set batch_size=… fits, but is another protocol; "
    "--precision bf16 or a larger device keep the batch"
)


class Recorder:
    """Makes the records of one seed of one cell, and keeps its time.

    Args:
        cell: What is run.
        context: Seed, device, precision; variants that are finished.
        unfinished: What earlier processes spent on the seed.
    """

    def __init__(self, cell: Cell, context: RunContext, unfinished: UnfinishedSeed) -> None:
        self.cell = cell
        self.context = context
        self.unfinished = unfinished
        self.restart()
        # Training is part of what the first variant took.
        self.trains = not context.finished

    def restart(self) -> None:
        """Begin the time, and on an accelerator the memory count, of the next outcome."""
        environment.reset_peak_memory(self.context.device)
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock = time.perf_counter()
        self.trains = False

    @property
    def seconds(self) -> float:
        """Seconds of this outcome so far, those of killed processes that led to it included."""
        return time.perf_counter() - self.clock + (self.unfinished.spent if self.trains else 0)

    def complete(self, outcome: Outcome, *, kept: bool) -> RunRecord:
        """Score an outcome with the function that `omnibench score` uses, and describe it.

        Raises:
            IntegrityError: If predictions contradict themselves, or could not be read again.
            PluginError: If they are not of the dataset's cases.
        """
        scored = scores(self.cell.task.card, outcome.predictions)
        self._require_cases(outcome.predictions)
        record = replace(
            self._base(outcome.variant),
            status="complete",
            metrics=_metrics(scored["test"]),
            validation=_metrics(scored["val"]),
            predictions=Store.prepare(outcome.predictions),
            weights=Store.prepare_weights(outcome.weights) if kept and outcome.weights else None,
            details=dict(outcome.details) | self._assets(),
            cost={
                "params_total": outcome.params_total,
                "params_trainable": outcome.params_trainable,
                "flops_per_image": outcome.flops_per_image,
                "images_per_second": outcome.images_per_second,
                "peak_memory_bytes": environment.peak_memory(self.context.device),
                "seconds": self.seconds,
            },
        )
        require_readable(record)
        return record

    def _require_cases(self, predictions: Arrays) -> None:
        """Raise unless predictions are of the dataset's cases, in its order."""
        for split in SPLITS:
            ids, cases = predictions.get(f"{split}_id"), self.cell.dataset.split(split).ids
            if ids is not None and ids.tolist() != cases.tolist():
                raise PluginError(
                    f"task {self.cell.task.card.name!r} predicted {len(ids)} cases of split "
                    f"{split!r} and the dataset has {len(cases)}, or they have other ids: "
                    "predictions are of every case, in the dataset's order"
                )

    def failed(self, error: BaseException) -> RunRecord:
        """Say in the log what happened, and in a record that it did."""
        kind, message = _reason(error)
        if kind == "bug":
            log.error("seed %d failed: %s", self.context.seed, message, exc_info=error)
        elif kind != "interrupted":
            log.error("seed %d failed: %s", self.context.seed, message)
        # Messages of other kinds may name files, which records never do.
        told = message if kind in ("oom", "interrupted") or isinstance(error, RunFailed) else kind
        return replace(
            self._base(""),
            status="interrupted" if kind == "interrupted" else "failed",
            failure={"kind": kind, "message": told} | _place(error),
        )

    def _assets(self) -> dict[str, Any]:
        """Say which files a run used besides the encoder's weights, where it used any."""
        told = {
            name: {"name": asset.name, "sha256": asset.sha256, "revision": asset.revision}
            for name, asset in self.cell.assets.items()
        }
        return {"assets": told} if told else {}

    def _base(self, variant: str) -> RunRecord:
        """Return what a record says whatever the outcome."""
        cell, handle, card = self.cell, self.cell.handle, self.cell.card
        return RunRecord(
            identity=cell.identity(self.context, variant),
            status="failed",
            label=handle.label,
            recipe=cell.protocol,
            changes=dict(cell.changes),
            dataset={
                "kind": card.kind,
                "classes": list(cell.dataset.classes),
                "modality": card.modality,
                "licence": card.licence,
                "commercial": card.commercial,
                "source_url": card.source_url,
                "citation": card.citation,
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
                "parameters_sha256": handle.parameters_sha256,
                "plugin_version": cell.encoder.plugin.version,
            },
            environment=environment.describe(self.context.device),
            code=code_of(cell),
            timing={
                "started": self.unfinished.started if self.trains else self.started,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(self.seconds, 3),
                "resumed": self.unfinished.resumed,
            },
        )


def code_of(cell: Cell) -> dict[str, Any]:
    """Return commit and digest of the code that a cell's runs pass through."""
    task, opener = type(cell.task.card), cell.card.open
    # A variant's opener is not what reads the images.
    modules = (task.__module__, cell.handle.module, module_of(opener), reader_of(cell.dataset))
    return environment.code(modules)


def made_by(cell: Cell, device: str) -> dict[str, Any]:
    """Return what must be the same for a training to go on with the same bits."""
    from omnibench.features.keys import machine

    told = environment.describe(device)
    return {
        "code": code_of(cell)["semantic_sha256"],
        "python": told["python"],
        "packages": told["packages"],
        "platform": told["platform"],
        "machine": machine(device),
    }


def _reason(error: BaseException) -> tuple[str, str]:
    """Return kind and message of a failure."""
    if isinstance(error, RunFailed):
        return error.kind, str(error)
    if ran_out_of_memory(error):
        return "oom", OUT_OF_MEMORY
    for kind_of, kind in KINDS:
        if isinstance(error, kind_of):
            return kind, str(error) or kind
    if isinstance(error, OmnibenchError):
        return "error", str(error)
    return "bug", f"{type(error).__name__}: {error}"


def _place(error: BaseException) -> dict[str, int]:
    """Say in which epoch a run failed, where that is known."""
    epoch = getattr(error, "epoch", None)
    return {} if epoch is None else {"epoch": epoch}


def _metrics(metrics: Sequence[Metric]) -> dict[str, Any]:
    return {
        m.id: {"value": m.value, "unit": m.unit, "higher_is_better": m.higher_is_better}
        | ({"resource": m.resource} if m.resource else {})
        for m in metrics
    }
