"""The command `omnibench reproduce`; importing it imports neither pandas nor numpy."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnibench.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from omnibench.registry import Registry
    from omnibench_leaderboard.reproduce.grid import Job, Key, Study
    from omnibench_leaderboard.reproduce.measuring import Bench
    from omnibench_leaderboard.reproduce.missing import Machine
    from omnibench_leaderboard.runs import Collection


@click.command(epilog="Example: omnibench reproduce omnirad-2026 --table 9 --plan")
@click.argument("study", metavar="STUDY")
@click.option(
    "--table", "tables", multiple=True, type=int, metavar="N", help="Only this table; repeatable"
)
@click.option("--plan", "only_plan", is_flag=True, help="Print cells, cost and what is missing")
@click.option(
    "--measure", is_flag=True, help="With --plan: time each kind of run by `omnibench bench` first"
)
@click.option("--verdicts", "only_verdicts", is_flag=True, help="Judge what RESULTS hold; run none")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Run seeds 0 to N-1 of every cell")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="Where records lie"
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Where datasets lie")
@click.option("--cache", type=click.Path(path_type=Path), help="Cache folder, as for run")
@click.option("--offline", is_flag=True, help="Never touch the network; what is missing is left")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto")
@click.option(
    "--tflops",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="What your machine sustains, for --plan; this CPU is measured otherwise",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that is a plugin, without packaging; repeatable",
)
def reproduce(
    study: str,
    tables: Sequence[int],
    only_plan: bool,
    measure: bool,
    only_verdicts: bool,
    seeds: int | None,
    results: Path,
    data_root: Path | None,
    cache: Path | None,
    offline: bool,
    device: str,
    precision: str,
    tflops: float | None,
    as_json: bool,
    plugins: Sequence[Path],
) -> None:
    """Run a published STUDY again and judge every number that it prints.

    Finished runs are never repeated; what fails does not stop the rest.
    """
    import platformdirs

    from omnibench.registry import Registry
    from omnibench_leaderboard.cache import Cache
    from omnibench_leaderboard.reproduce import grid
    from omnibench_leaderboard.reproduce.measuring import Bench
    from omnibench_leaderboard.reproduce.missing import Machine

    if only_plan and only_verdicts:
        raise UsageError("--plan and --verdicts exclude each other")
    if tflops is not None and not only_plan:
        raise UsageError("--tflops is for the estimate of --plan; add --plan or drop it")
    if measure and not only_plan:
        raise UsageError("--measure is for --plan; add --plan or drop it")
    if measure and tflops is not None:
        raise UsageError("--measure and --tflops exclude each other")
    registry = Registry.discover(plugins)
    found = grid.find(registry, study, tables)
    cache = cache or Path(platformdirs.user_cache_dir("omnibench"))
    root = Path(data_root or os.environ.get("OMNIBENCH_DATA") or cache / "data")
    machine = Machine(registry, root)
    if only_verdicts:
        _judge(found, _collected(results, registry), registry, {}, as_json)
        return
    jobs = found.jobs(registry, seeds)
    if only_plan:
        bench = Bench(registry, Cache(cache / "costs"), device, precision, cache, tuple(plugins))
        if measure:
            collected = _so_far(results, registry)
            bench.measure(_unfinished(found, jobs, collected))
        _plan(found, jobs, registry, machine, results, tflops, bench, as_json)
        return
    from omnibench_leaderboard.reproduce.filling import fill

    options = ["--results", str(results), "--data-root", str(root), "--cache", str(cache)]
    options += ["--device", device, "--precision", precision, *(["--offline"] if offline else [])]
    options += [text for file in plugins for text in ("--plugin", str(file))]
    signal.signal(signal.SIGTERM, _terminate)
    left = _unfinished(found, jobs, _so_far(results, registry))
    failed, worst = fill(left, options, machine.lacks if offline else lambda job: ())
    _judge(found, _so_far(results, registry), registry, failed, as_json)
    if worst:
        raise SystemExit(worst)


def _terminate(signum: int, frame: object) -> None:
    raise SystemExit(INTERRUPTED)


def _plan(
    study: Study,
    jobs: Sequence[Job],
    registry: Registry,
    machine: Machine,
    results: Path,
    tflops: float | None,
    bench: Bench,
    as_json: bool,
) -> None:
    from omnibench_leaderboard.reproduce import cost, display
    from omnibench_leaderboard.reproduce.planning import plan

    if tflops is not None:
        rate = (tflops * 1e12, "as given by --tflops")
    else:
        rate = (cost.throughput(), "an fp32 matrix product on this CPU, which no run reaches")
    found = plan(study, jobs, _so_far(results, registry), registry, machine, rate, bench)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        display.print_plan(found)


def _judge(
    study: Study,
    collection: Collection,
    registry: Registry,
    failed: Mapping[Key, str],
    as_json: bool,
) -> None:
    from omnibench_leaderboard import terminal
    from omnibench_leaderboard.reproduce import display
    from omnibench_leaderboard.reproduce.judging import judge, of_cells

    judged = judge(study, collection, registry, failed)
    if as_json:
        told = {
            "study": study.name,
            "cells": {outcome.value: n for outcome, n in of_cells(judged).items()},
            "numbers": [row.as_json() for row in judged],
            "left_out": [asdict(item) for item in collection.exclusions],
        }
        click.echo(json.dumps(told, indent=1, allow_nan=False))
        return
    display.print_verdicts(judged)
    terminal.print_unfinished([f"{m.title}: {m.reason}" for m in collection.missing])
    terminal.print_left_out("left out", collection.exclusions)


def _unfinished(study: Study, jobs: Sequence[Job], collection: Collection) -> list[Job]:
    """Return the jobs that still have seeds to run and whose numbers can be compared."""
    from omnibench_leaderboard.reproduce.planning import finished

    return [
        job for job in jobs if not job.needless and finished(study, collection, job) < job.seeds
    ]


def _so_far(results: Path, registry: Registry) -> Collection:
    """Return what is finished; a folder that the first run is to make holds nothing yet."""
    from omnibench_leaderboard.runs import Collection

    if not any(results.glob("runs/??/*/*.json")):
        return Collection(runs=())
    return _collected(results, registry)


def _collected(results: Path, registry: Registry) -> Collection:
    import platformdirs

    from omnibench_leaderboard.cache import Cache
    from omnibench_leaderboard.collect import collect

    kept = Cache(Path(platformdirs.user_cache_dir("omnibench")) / "leaderboard")
    return collect([results], registry, cache=kept)
