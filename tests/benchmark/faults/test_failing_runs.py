"""The N-th call to the disk fails while a command runs: what it keeps for itself ends nobody."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faulty_disk import ERRORS, FaultyDisk, every_fault
from toy_requests import toy_request

from omnibench.cells import RunRequest
from omnibench.claims import Claims
from omnibench.errors import SetupError
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench.store import Store
from omnibench.unfinished import UnfinishedSeed

RUN = "ab" * 32
STATE = {"weight": torch.arange(6.0), "losses": [0.5, 0.25]}


def seed_in(root: Path) -> UnfinishedSeed:
    return UnfinishedSeed(root, RUN, "the seed", {"code": "c"})


def is_right(loaded: Any) -> bool:
    epoch, state = loaded
    same = torch.equal(state["weight"], STATE["weight"])
    return bool(epoch == 3 and same and state["losses"] == STATE["losses"])


def test_an_unfinished_state_is_right_or_not_there(tmp_path: Path) -> None:
    for number, disk in enumerate(every_fault()):
        root = tmp_path / str(number)
        with disk:
            seed_in(root).save(3, STATE, at_once=True)
        loaded = seed_in(root).load()
        assert loaded is None or is_right(loaded), disk
        assert disk.broke or loaded is not None
        seed_in(root).save(3, STATE, at_once=True)
        assert is_right(seed_in(root).load()), disk
        assert [p.name for p in root.rglob("*") if p.is_file()] == [f"{RUN}.pt"], disk


def test_a_state_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    for number, disk in enumerate(every_fault()):
        seed = seed_in(tmp_path / str(number))
        seed.save(3, STATE, at_once=True)
        with disk:
            loaded = seed_in(tmp_path / str(number)).load()
        assert loaded is None or is_right(loaded), disk
        assert disk.broke or loaded is not None


def test_a_claim_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    for number, disk in enumerate(every_fault()):
        claims = Claims(tmp_path / str(number))
        with disk:
            assert claims.take(RUN, "the seed"), disk
            claims.release(RUN)
            claims.clear(RUN)
            claims.close()
        for path in (tmp_path / str(number)).rglob("*.json"):
            assert json.loads(path.read_bytes())["pid"] == os.getpid(), disk


def request_in(root: Path) -> RunRequest:
    return toy_request(root, seeds=(0,), keep_weights=True)


@pytest.mark.parametrize(
    ("cache", "codes"),
    [("warm", [errno.ENOSPC]), pytest.param("cold", ERRORS, marks=pytest.mark.slow)],
)
def test_whatever_call_fails_in_a_run_the_same_command_finishes_it(
    tmp_path: Path,
    toy: Any,
    toy_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
    codes: list[int],
) -> None:
    run = toy.task.run

    def keeping(handle: Any, dataset: Any, recipe: Any, context: Any) -> Iterator[Any]:
        context.unfinished.load()
        context.unfinished.save(1, STATE, at_once=True)
        for outcome in run(handle, dataset, recipe, context):
            yield dataclasses.replace(outcome, weights={"w": np.ones(4, dtype=np.float32)})

    monkeypatch.setattr(toy.task, "run", keeping)
    monkeypatch.setattr(toy.task, "draw", lambda *_: b"\x89PNG")

    def asked(root: Path) -> RunRequest:
        request = request_in(root)
        return request if cache == "cold" else dataclasses.replace(request, cache=tmp_path / "warm")

    def finish(root: Path) -> np.ndarray[Any, Any]:
        request = asked(root)
        ((_, record, path),) = execute(plan(request, toy_registry), request)
        assert record.status == "complete" and Store(request.results).read(path) == record
        found: np.ndarray[Any, Any] = Store(request.results).predictions(record)["test_score"]
        return found

    expected = finish(tmp_path / "undisturbed")
    survived = ended = 0
    for number, disk in enumerate(every_fault(codes)):
        root = tmp_path / f"{number}"
        request = asked(root)
        cells, store = plan(request, toy_registry), Store(request.results)
        with disk:
            try:
                ((_, record, _),) = execute(cells, request)
                survived += 1
                assert record.status == "complete", disk
                found = store.predictions(record)["test_score"]
            except SetupError as error:
                ended += 1
                assert disk.broke and os.strerror(disk.code) in str(error)
                found = None
        assert np.array_equal(finish(root) if found is None else found, expected), disk
        paths = list(store.paths())
        assert len(paths) == 1 and len(list(request.results.rglob("*.npz"))) == 1, disk
    print(f"of {survived + ended} runs {survived} survived, {ended} ended and were finished")
    assert survived > 5 and ended > 10


def test_a_disk_that_is_full_from_some_moment_on_ends_a_run_with_what_is_needed(
    tmp_path: Path, toy: Any, toy_registry: Registry
) -> None:
    request = request_in(tmp_path)
    with FaultyDisk() as whole:
        list(execute(plan(request, toy_registry), request))
    for number in range(1, len(whole.calls) + 1, 5):
        request = request_in(tmp_path / str(number))
        cells = plan(request, toy_registry)
        with FaultyDisk(number, errno.ENOSPC, lasting=True):
            try:
                list(execute(cells, request))
            except SetupError as error:
                assert "bytes are needed" in str(error) and error.exit_code == 5
        assert not list(request.results.rglob(".[0-9]*")), number
