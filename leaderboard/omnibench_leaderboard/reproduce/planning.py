"""What reproducing a study still takes: runs, operations, time, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omnibench.errors import OmnibenchError
from omnibench.registry import Registry
from omnibench_leaderboard.reproduce.cost import run_flops
from omnibench_leaderboard.reproduce.grid import Job, Study, recipe_of
from omnibench_leaderboard.reproduce.matching import seeds_of
from omnibench_leaderboard.reproduce.measuring import Bench
from omnibench_leaderboard.reproduce.missing import Lack, Machine, licences
from omnibench_leaderboard.runs import Collection


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One `omnibench run` and what is left of it.

    Args:
        job: The run's cells and seeds.
        done: Seeds that are finished in every cell.
        flops: Operations of one seed; None where they cannot be told.
        measured: Hours of the seeds still to run, by this machine's measurements; None where
            there are none.
        lacks: What keeps it from starting on this machine.
    """

    job: Job
    done: int
    flops: float | None
    measured: float | None
    lacks: tuple[Lack, ...]

    @property
    def left(self) -> int:
        """Seeds still to run; none of a run that could be compared with nothing."""
        return 0 if self.job.needless else self.job.seeds - self.done

    @property
    def flops_left(self) -> float | None:
        """Operations of the seeds still to run."""
        return None if self.flops is None else self.left * self.flops


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is left to do, its time measured where this machine was, else estimated.

    Args:
        study: Its name.
        runs: One for each `omnibench run`.
        licences: By encoder or dataset, what is to be read before use.
        flops_per_second: What the machine is taken to sustain.
        basis: Where that number comes from.
    """

    study: str
    runs: tuple[Planned, ...]
    licences: dict[str, str]
    flops_per_second: float
    basis: str

    @property
    def flops(self) -> float:
        """Operations of everything that is left and can be told."""
        return sum(run.flops_left or 0.0 for run in self.runs)

    @property
    def lacks(self) -> dict[Lack, int]:
        """What is missing, and how many cells wait for it."""
        found: dict[Lack, int] = {}
        for run in self.runs:
            for lack in run.lacks if run.left else ():
                found[lack] = found.get(lack, 0) + len(run.job.cells)
        return dict(sorted(found.items()))

    @property
    def hours(self) -> float:
        """Time for everything that is left and can be told."""
        return sum(self.hours_of(run) or 0.0 for run in self.runs)

    def hours_of(self, run: Planned) -> float | None:
        """Return how long what is left of a run takes: as measured, else at the machine's rate."""
        if run.measured is not None or run.flops_left is None:
            return run.measured
        return run.flops_left / self.flops_per_second / 3600

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "study": self.study,
            "cells": [
                {
                    **cell.key._asdict(),
                    "tables": list(cell.tables),
                    "recipe": cell.recipe,
                    "not_comparable": cell.reason,
                    "command": ["omnibench", "run", *run.job.arguments],
                    "seeds": run.job.seeds,
                    "done": run.done,
                    "measured_hours": run.measured,
                    "missing": [asdict(lack) for lack in run.lacks],
                }
                for run in self.runs
                for cell in run.job.cells
            ],
            "runs_left": sum(run.left for run in self.runs),
            "flops": self.flops,
            "hours": self.hours,
            "flops_per_second": self.flops_per_second,
            "basis": self.basis,
            "licences": self.licences,
        }


def finished(study: Study, collection: Collection, job: Job) -> int:
    """Return how many of a run's seeds are finished in every cell that can be compared."""
    wanted = set(range(job.seeds))
    for cell in job.cells:
        if not cell.reason:
            wanted &= seeds_of(study, collection, cell)
    return 0 if job.needless else len(wanted)


def plan(
    study: Study,
    jobs: Sequence[Job],
    collection: Collection,
    registry: Registry,
    machine: Machine,
    rate: tuple[float, str],
    bench: Bench,
) -> Plan:
    """Say what every run still takes.

    Args:
        study: The study.
        jobs: Its runs.
        collection: What is finished.
        registry: Offers the cards.
        machine: Where weights and data are looked for.
        rate: Operations a second, and where that number comes from.
        bench: What was measured.
    """
    runs = []
    for job in jobs:
        done = finished(study, collection, job)
        left = 0 if job.needless else job.seeds - done
        runs.append(
            Planned(
                job=job,
                done=done,
                flops=_flops(job, registry),
                measured=bench.hours(job, left) if left else None,
                lacks=machine.lacks(job),
            )
        )
    return Plan(
        study=study.name,
        runs=tuple(runs),
        licences=licences(registry, jobs),
        flops_per_second=rate[0],
        basis=rate[1],
    )


def _flops(job: Job, registry: Registry) -> float | None:
    key = job.key
    try:
        _, recipe = recipe_of(registry, key, job.recipe)
        encoder, dataset = registry.encoder(key.encoder).card, registry.dataset(key.dataset).card
    except OmnibenchError:
        return None
    return run_flops(encoder, dataset, recipe, job.cells[0].values[0].task_flops)
