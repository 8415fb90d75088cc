"""Seeds on many machines: each as a command of its own on Ray or Slurm, never a scheduler of ours.

The results folder, data root and cache must be visible to every machine. What a job needs of
the cluster is said the cluster's own way: `ray start` and RAY_ADDRESS, or SBATCH_PARTITION,
SBATCH_GPUS, SBATCH_TIMELIMIT and the like.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omnibench.cells import Cell, RunRequest
from omnibench.errors import RunFailed, SetupError
from omnibench.interfaces import Progress
from omnibench.records import RunRecord
from omnibench.store import Store


class Job(NamedTuple):
    """What one command did."""

    exit_code: int
    stdout: str
    stderr: str


def run_command(arguments: Sequence[str]) -> Job:
    """Run the command line in a process of its own and keep what it says."""
    command = [sys.executable, "-m", "omnibench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Job(done.returncode, done.stdout, done.stderr)


def on_ray(commands: Sequence[Sequence[str]], request: RunRequest) -> Iterator[Job]:
    """Yield jobs in order, run by a Ray cluster (RAY_ADDRESS) or one started here."""
    try:
        import ray
    except ImportError:
        raise SetupError("--executor ray needs pip install 'omnibench[ray]'") from None
    ray.init(log_to_driver=False, include_dashboard=False)
    try:
        gpus = 1 if request.device != "cpu" and ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(run_command)
        yield from (ray.get(job) for job in [remote.remote(command) for command in commands])
    finally:
        ray.shutdown()


def on_slurm(
    commands: Sequence[Sequence[str]], request: RunRequest, cluster: str = "slurm"
) -> Iterator[Job]:
    """Yield jobs in order, submitted through submitit; its files lie in `<results>/slurm`."""
    try:
        import submitit
    except ImportError:
        raise SetupError("--executor slurm needs pip install 'omnibench[slurm]'") from None
    try:
        executor = submitit.AutoExecutor(folder=request.results / "slurm", cluster=cluster)
        with executor.batch():
            jobs = [executor.submit(run_command, list(command)) for command in commands]
    except (RuntimeError, FileNotFoundError) as error:
        raise SetupError(f"no job could be submitted to Slurm: {error}") from error
    yield from (job.result() for job in jobs)


EXECUTORS: dict[str, Callable[[Sequence[Sequence[str]], RunRequest], Iterator[Job]]] = {
    "ray": on_ray,
    "slurm": on_slurm,
}


def distribute(
    cells: Sequence[Cell], request: RunRequest, executor: str, progress: Progress
) -> Iterator[tuple[Cell, RunRecord, Path]]:
    """Run every seed of every cell elsewhere; yield the records as they come back.

    Raises:
        RunFailed: After the last job, if one ended without leaving a record.
    """
    planned = [(cell, seed) for cell in cells for seed in cell.seeds]
    commands = [_arguments(request, cell, seed) for cell, seed in planned]
    progress.start(f"runs on {executor}", len(commands))
    store = Store(request.results.resolve())
    lost = []
    for (cell, seed), job in zip(planned, EXECUTORS[executor](commands, request), strict=True):
        paths = _records(job)
        if not paths:
            said = job.stderr.strip().splitlines() or ["nothing was said"]
            lost.append(f"{cell.handle.label}, seed {seed}: exit code {job.exit_code}: {said[-1]}")
        for path in paths:
            yield cell, store.read(path), path
        progress.advance()
    if lost:
        raise RunFailed("some jobs left no record:\n" + "\n".join(lost), kind="job")


def _records(job: Job) -> list[Path]:
    """Return the records that a job's JSON names, finished and failed."""
    try:
        cells = json.loads(job.stdout)
    except ValueError:
        return []
    return [Path(path) for cell in cells for path in (*cell["records"], *cell["failed_records"])]


def _arguments(request: RunRequest, cell: Cell, seed: int) -> list[str]:
    """Return the command line of one seed, with paths that hold on every machine."""
    arguments = ["run", "--encoder", cell.encoder_name, "--dataset", cell.dataset_name]
    arguments += ["--task", request.task, "--recipe", cell.recipe_name, "--seed", str(seed)]
    for name, value in (
        ("tuning", request.tuning),
        ("label", request.label),
        ("limit", request.limit),
        ("device", request.device),
        ("precision", request.precision),
        ("weights", request.weights and request.weights.resolve()),
        ("results", request.results.resolve()),
        ("cache", request.cache.resolve()),
        ("cache-limit", request.cache_limit),
        ("cache-precision", request.cache_precision),
        ("data-root", request.data_root.resolve()),
    ):
        if value is not None:
            arguments += [f"--{name}", str(value)]
    for name, flag in (
        ("random-weights", request.random_weights),
        ("allow-unverified-data", request.allow_unverified),
        ("offline", request.offline),
        ("keep-weights", request.keep_weights),
        ("no-cache", request.no_cache),
    ):
        arguments += [f"--{name}"] if flag else []
    for key, value in request.settings.items():
        arguments += ["--set", f"{key}={value}"]
    for path in request.plugins:
        arguments += ["--plugin", str(path.resolve())]
    return [*arguments, "--json"]
