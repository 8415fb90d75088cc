"""What a record's recipe says: its headline metric, whether seeds matter, the command."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from omnibench.errors import OmnibenchError
from omnibench.interfaces import Task
from omnibench.recipe import override
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench_leaderboard.runs import Run


def headline(registry: Registry, runs: Sequence[Run]) -> str:
    """Return the metric that inference is made for: the task's own, if some run has it.

    Where today's task does not know the recipe, it is the first by name of those that most
    runs have.
    """
    counts = Counter(name for run in runs for name in run.record.metrics)
    found = _recipe(registry, runs[0].record)
    if found is not None:
        task, recipe = found
        name = task.headline(recipe)
        if name in counts:
            return name
    return min(counts, key=lambda name: (-counts[name], name))


def is_deterministic(registry: Registry, record: RunRecord) -> bool:
    """Tell whether seeds make no difference, so that one run is all there is."""
    found = _recipe(registry, record)
    return found is not None and not found[0].stochastic(found[1])


def command(runs: Sequence[Run]) -> str:
    """Return the command that makes these records again.

    What a record does not hold stands in capitals: the path of a weights file or of a folder
    of images. Both are told apart by their digests.
    """
    record = runs[0].record
    identity, seeds = record.identity, sorted(run.seed for run in runs)
    task, weights = identity["task"], identity["encoder"]["weights"]
    parts = ["omnibench", "run", "--encoder", identity["encoder"]["name"], "--task", task["name"]]
    name = identity["dataset"]["name"]
    parts += ["--dataset", "folder:PATH" if name.startswith("folder-") else name]
    parts += ["--recipe", task["recipe"]]
    if "tuning" in record.recipe:
        parts += ["--tuning", identity["tuning"]]
    for field, value in sorted(record.changes.items()):
        parts += ["--set", f"{field}={value}"]
    if weights == "random":
        parts.append("--random-weights")
    elif weights == "file":
        parts += ["--weights", f"FILE-{identity['encoder']['weights_sha256'][:8]}"]
    if identity["dataset"]["limit"]:
        parts += ["--limit", str(identity["dataset"]["limit"])]
    if seeds == list(range(len(seeds))):
        parts += ["--seeds", str(len(seeds))]
    else:
        parts += [text for seed in seeds for text in ("--seed", str(seed))]
    parts += ["--device", identity["device"], "--precision", identity["precision"]]
    return shlex.join(parts)


def _recipe(registry: Registry, record: RunRecord) -> tuple[Task, Any] | None:
    """Return the task and the recipe with its changes, None where today's task has no such."""
    task = record.identity["task"]
    try:
        card = registry.task(f"{task['plugin']}/{task['name']}").card
        tuning = record.identity["tuning"] if card.tunings else None
        return card, override(card.recipe(task["recipe"], tuning), record.changes)
    except (OmnibenchError, KeyError, ValueError, TypeError):
        return None
