"""Two processes over gloo compute what one does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from omnirad.centring import MovingCentre, ScaledLogits, sinkhorn_offset
from omnirad.comm import NullComm
from omnirad.student_teacher import StudentTeacher, build_student

PROGRAM = Path(__file__).with_name("two_ranks.py")


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_ranks", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(rank), folder / "store", folder / f"{rank}.pt"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def whole(rows: torch.Tensor) -> ScaledLogits:
    return ScaledLogits(rows, torch.eye(12, dtype=torch.float64), 0.1, 10_000)


def test_sinkhorn_over_two_processes_equals_one(ranks):
    wanted = sinkhorn_offset(whole(program().rows()), 3, NullComm())
    for found in ranks:
        assert torch.allclose(found["offset"], wanted, atol=1e-12)


def test_a_rank_without_rows_takes_part(ranks):
    wanted = sinkhorn_offset(whole(program().rows()), 3, NullComm())
    for found in ranks:
        assert torch.allclose(found["lonely"], wanted, atol=1e-12)


def test_the_moving_centre_is_the_mean_over_processes(ranks):
    centre = MovingCentre(12).double()
    centre.offset(whole(program().rows()), NullComm())
    for found in ranks:
        assert torch.allclose(found["centre"], centre.centre, atol=1e-12)


def test_losses_and_gradients_are_the_means_over_processes(ranks):
    """With as many crops on each rank, the whole batch on one process gives the same."""
    two = program()
    pair = StudentTeacher(build_student(two.RECIPE, seed=0), two.RECIPE, seed=0)
    crops, masks = two.crops().flatten(0, 1), two.masks().flatten(0, 1)
    found = pair.losses(crops, masks, step=0, teacher_temp=0.05)
    found.total.backward()
    mean = (ranks[0]["total"] + ranks[1]["total"]) / 2
    assert torch.allclose(mean, found.total.detach(), rtol=1e-6)
    for name, parameter in pair.student.named_parameters():
        for rank in ranks:
            error = (rank["gradients"][name] - parameter.grad).norm()
            assert error <= 1e-4 * parameter.grad.norm() + 1e-7, name


def test_wrapping_changes_no_key_of_the_state(ranks):
    two = program()
    assert ranks[0]["keys"] == list(build_student(two.RECIPE, seed=0).state_dict())
