"""`omnibench bench`: what is measured, and what a grid is said to cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from omnibench import bench, cli
from omnibench.commands import options as options_of
from omnibench.errors import OmnibenchError
from omnibench.interfaces import Part
from omnibench.registry import Registry


@pytest.fixture
def command(toy, monkeypatch, tmp_path):
    """Runs `omnibench bench` on the toy plugin."""
    registry = Registry.of(toy, distribution="toybox")
    monkeypatch.setattr(Registry, "discover", lambda files=(): registry)
    options_of.registry_of.cache_clear()
    options = ["--device", "cpu", "--cache", str(tmp_path), "--rounds", "1"]
    yield lambda *arguments: CliRunner().invoke(
        cli.cli,
        ["bench", "--encoder", "toy-encoder", "--random-weights", *options, *arguments],
    )
    options_of.registry_of.cache_clear()


def parts(handle: Any, recipe: Any, context: Any) -> list[Part]:
    return [
        Part(name=name, stage=stage, images=2, call=lambda: None)
        for name, stage in (
            ("encoder", "once"),
            ("step", "training"),
            ("piece", "detail"),
            ("prediction", "evaluation"),
        )
    ]


def refused(result: Result, match: str) -> None:
    assert isinstance(result.exception, OmnibenchError)
    with pytest.raises(OmnibenchError, match=match):
        raise result.exception


def test_encoders_and_the_store_are_measured_as_cost_records(command, tmp_path):
    done = command("--size", "16", "--size", "8", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    small, large = found["encoders"]
    assert (small["size"], large["size"]) == (8, 16)
    # one convolution of 3 to 6 channels over 4x4 patches
    assert large["gflop_per_image"] * 1e9 == 2 * 16 * 6 * 3 * 16
    assert large["gflop_per_image"] == 4 * small["gflop_per_image"]
    assert small["parameters"] == 6 * 3 * 16 + 6
    for record in (small, large):
        assert record["schema"] == "omnibench.cost/1" and record["environment"]["packages"]
        assert 0 < record["slowest"] <= record["images_per_second"] <= record["fastest"]
    [store] = found["store"]
    assert store["read_gb_per_second"] > 0 and store["write_gb_per_second"] > 0
    assert not [p for p in (tmp_path / "features").rglob("*") if p.is_file()], "nothing is kept"
    assert found["parts"] == found["runs"] == []


def test_a_grid_costs_what_its_parts_cost_times_its_images(command, toy, monkeypatch):
    toy.task.parts = parts
    seconds = iter((1.0, 2.0, 100.0, 4.0))  # per call, two images each
    monkeypatch.setattr(
        bench, "timed", lambda call, device, rounds: [next(seconds)] if call() is None else []
    )
    monkeypatch.setattr(bench, "_encoder", lambda *_: [])
    monkeypatch.setattr(bench, "_store", lambda *_: {})
    monkeypatch.setattr(type(toy.task.recipe("paper")), "epochs", 10, raising=False)
    done = command("--task", "toy", "--dataset", "toy-labels", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [p["part"] for p in found["parts"]] == ["encoder", "step", "piece", "prediction"]
    [run] = found["runs"]
    assert (run["seeds"], run["epochs"], run["images"]) == (3, 10, 12 + 6 + 8)
    assert run["once_hours"] * 3600 == pytest.approx(26 * 0.5)
    assert run["training_hours"] * 3600 == pytest.approx(3 * 10 * 12 * 1.0)
    assert run["evaluation_hours"] * 3600 == pytest.approx(3 * (10 * 6 + 6 + 8) * 2.0)
    assert run["hours"] == pytest.approx(
        run["once_hours"] + run["training_hours"] + run["evaluation_hours"]
    )


def test_tables_are_printed_without_json(command):
    done = command("--size", "8")
    assert done.exit_code == 0, done.output
    assert "images_per_second" in done.stdout and "read_gb_per_second" in done.stdout
    assert "omnibench.cost/1" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--size", "10"], "--size 10 is not a multiple of 4, the patch size of 'toy-encoder'"),
        (["--task", "toy"], "'toy' does not say what it is made of"),
        (["--dataset", "toy-labels"], "add --task NAME"),
        (["--task", "toy", "--dataset", "toy-labels"], "'toy' does not say what it is made of"),
        (["--encoder", "toy-encodr"], "toy-encodr"),
        (["--device", "cuda:77"], "torch sees|CUDA"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_reason(command, arguments, complaint):
    refused(command(*arguments), complaint)


def test_calls_are_timed_after_one_that_is_not_counted():
    calls: list[int] = []
    assert len(bench.timed(lambda: calls.append(1), "cpu", 3)) == 3
    assert len(calls) == 4


@pytest.mark.gpu
def test_an_accelerators_own_clock_is_asked():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    square = torch.rand(4096, 4096, device="cuda")
    assert all(seconds > 1e-5 for seconds in bench.timed(lambda: square @ square, "cuda", 3))


def test_bench_is_listed_without_torch(tmp_path: Path):
    import subprocess
    import sys

    program = "import sys; from omnibench import cli; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
