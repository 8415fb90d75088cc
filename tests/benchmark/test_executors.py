from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

import pytest
from toy_requests import toy_request

from omnibench import executors
from omnibench.cells import RunRequest
from omnibench.errors import RunFailed
from omnibench.interfaces import Silent
from omnibench.planning import plan
from omnibench.registry import Registry


@pytest.fixture
def request_(tmp_path: Path, toy_file: Path) -> RunRequest:
    return toy_request(tmp_path, seeds=(0, 1), plugins=(toy_file,))


def distributed(request: RunRequest, registry: Registry, executor: str):
    return list(executors.distribute(plan(request, registry), request, executor, Silent()))


@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_each_seed_is_a_job_and_records_come_back(
    request_, toy_registry, executor, monkeypatch
) -> None:
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}[executor])
    if executor == "slurm":
        # submitit's own stand-in: the same submission, run on this machine
        monkeypatch.setitem(
            executors.EXECUTORS, "slurm", partial(executors.on_slurm, cluster="local")
        )
    found = distributed(request_, toy_registry, executor)
    assert [(record.seed, record.status) for _, record, _ in found] == [
        (0, "complete"),
        (1, "complete"),
    ]
    again = distributed(request_, toy_registry, executor)
    assert [path for *_, path in again] == [path for *_, path in found]


def test_failed_seeds_come_back_as_records_and_lost_jobs_are_named(
    request_, toy_registry, monkeypatch
) -> None:
    def jobs(commands, request):
        yield executors.run_command(commands[0])
        yield executors.Job(9, "", "slurmstepd: killed")

    monkeypatch.setitem(executors.EXECUTORS, "slurm", jobs)
    failing = dataclasses.replace(request_, settings={"fail_seed": "1"}, seeds=(1, 0))
    found = []
    with pytest.raises(RunFailed, match="seed 0: exit code 9: slurmstepd: killed"):
        found.extend(executors.distribute(plan(failing, toy_registry), failing, "slurm", Silent()))
    assert [record.status for _, record, _ in found] == ["failed"]


def test_a_job_says_the_whole_request(request_, toy_registry, tmp_path) -> None:
    asked = dataclasses.replace(
        request_, settings={"lr": "0.2"}, limit=5, offline=True, precision="fp32"
    )
    (cell,) = plan(asked, toy_registry)
    arguments = " ".join(executors._arguments(asked, cell, 1))
    for part in (
        "--seed 1",
        "--limit 5",
        "--offline",
        "--set lr=0.2",
        "--precision fp32",
        "--json",
    ):
        assert part in arguments
    assert f"--results {tmp_path / 'results'}" in arguments and os.sep in arguments
