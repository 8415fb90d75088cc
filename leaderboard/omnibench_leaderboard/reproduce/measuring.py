"""What runs take on this machine, measured by `omnibench bench` in a process of its own."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omnibench import costs
from omnibench.errors import OmnibenchError
from omnibench.registry import Registry
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.reproduce.grid import Job, recipe_of

log = logging.getLogger(__name__)

SIZE = 224  # of the encoder's own line in the bench's table, which is not used here


@dataclass(frozen=True)
class Bench:
    """Measures one run of each kind; runs of one kind differ in data and weights only.

    Args:
        registry: Offers the cards.
        kept: Measurements from before.
        device: Torch device, as for `omnibench run`.
        precision: Likewise.
        cache: Cache folder, whose disk is used.
        plugins: Plugins given as files.
    """

    registry: Registry
    kept: Cache
    device: str
    precision: str
    cache: Path
    plugins: Sequence[Path] = ()

    def hours(self, job: Job, seeds: int) -> float | None:
        """Return what seeds of a run take; None where its kind was never measured."""
        question = self._question(job)
        answer = question and self.kept.get(question)
        if not answer:
            return None
        key = job.key
        _, recipe = recipe_of(self.registry, key, job.recipe)
        sizes = self.registry.dataset(key.dataset).card.split_sizes
        if sizes is None:
            return None
        stages = costs.hours(
            answer["parts"], sizes, seeds=seeds, epochs=int(getattr(recipe, "epochs", 0))
        )
        return sum(stages.values())

    def measure(self, jobs: Sequence[Job]) -> None:
        """Measure every kind of run that never was; what cannot be measured is said."""
        wanted: dict[str, tuple[dict[str, Any], Job]] = {}
        for job in jobs:
            question = self._question(job)
            if question and self.kept.get(question) is None:
                wanted.setdefault(json.dumps(question, sort_keys=True), (question, job))
        for number, (question, job) in enumerate(wanted.values(), 1):
            command = self._command(job)
            log.warning("%d of %d: %s", number, len(wanted), shlex.join(["omnibench", *command]))
            done = subprocess.run(
                [sys.executable, "-m", "omnibench", *command],
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                self.kept.put(question, {"parts": json.loads(done.stdout)["parts"]})
            else:
                log.warning("not measured, exit code %d; it is estimated", done.returncode)

    def _command(self, job: Job) -> list[str]:
        key = job.key
        told = ["bench", "--encoder", key.encoder, "--random-weights", "--task", key.task]
        told += ["--recipe", job.recipe, *(["--tuning", key.tuning] if key.tuning else [])]
        told += ["--size", str(SIZE), "--rounds", "1", "--json", "--offline"]
        told += ["--device", self.device, "--precision", self.precision]
        told += ["--cache", str(self.cache)]
        return [*told, *(text for file in self.plugins for text in ("--plugin", str(file)))]

    def _question(self, job: Job) -> dict[str, Any] | None:
        """Return what a run's speed depends on; None for a run that this registry cannot make."""
        key = job.key
        try:
            card = self.registry.encoder(key.encoder).card
            recipe_of(self.registry, key, job.recipe)
        except OmnibenchError:
            return None
        shape = [card.embed_dim, card.depth, card.patch_size]
        return {
            "schema": costs.SCHEMA,
            "task": key.task,
            "recipe": job.recipe,
            "tuning": key.tuning,
            # Networks and cards that do not tell their shape are measured each.
            "encoder": card.name if card.end_to_end or not all(shape) else shape,
            "device": self.device,
            "precision": self.precision,
            "software": [version("torch"), version("omnibench")],
        }
