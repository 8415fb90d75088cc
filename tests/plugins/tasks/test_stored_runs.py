"""Runs with a cold store, a warm one and none end in the same record."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from omnibench import hookimpl
from omnibench.cards import DatasetSpec
from omnibench.cells import RunRequest
from omnibench.errors import UsageError
from omnibench.harness import execute
from omnibench.interfaces import Task
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench_plugins.tasks.cls.task import Classification
from omnibench_plugins.tasks.probes.task import Knn, Linear

# What a clock, a counter of memory or a date says.
VOLATILE = {"timing", "record_sha256"}
COSTS = ("params_total", "params_trainable", "flops_per_image")


class Plugin:
    """The tiny transformer, the stripes and the tasks that read frozen features."""

    __name__ = "stored"

    def __init__(self, card: Any, dataset: Any) -> None:
        self.card, self.dataset = card, dataset

    @hookimpl
    def omnibench_encoders(self) -> list[Any]:
        return [self.card]

    @hookimpl
    def omnibench_tasks(self) -> list[Task]:
        return [Classification(), Knn(), Linear()]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        return [DatasetSpec(name="stripes", kind="labels", open=lambda access: self.dataset)]


@pytest.fixture
def records(vit_handle, stripes, tmp_path):
    """Runs a task on the stripes and returns its records as they lie on the disk."""
    registry = Registry.of(Plugin(vit_handle().card, stripes))

    def run(task: str, folder: str, **changes: Any) -> list[dict[str, Any]]:
        request = RunRequest(
            encoders=["tiny-vit"],
            task=task,
            datasets=["stripes"],
            random_weights=True,
            seeds=(0, 1) if task == "cls" else None,
            device="cpu",
            data_root=tmp_path,
            cache=tmp_path / "cache",
            results=tmp_path / folder,
            **changes,
        )
        found = [path for _, _, path in execute(plan(request, registry), request)]
        return [json.loads(path.read_text()) for path in found]

    return run


CELLS = [
    ("linear", {"settings": {"image_size": "32"}}),
    ("knn", {"settings": {"image_size": "32"}}),
    ("cls", {"tuning": "head", "settings": {"image_size": "32", "epochs": "3"}}),
    (
        "cls",
        {"tuning": "head", "settings": {"image_size": "32", "epochs": "3", "augmentation": "none"}},
    ),
    ("cls", {"tuning": "full", "settings": {"image_size": "32", "epochs": "1"}}),
]


@pytest.mark.parametrize(("task", "changes"), CELLS, ids=["linear", "knn", "head", "still", "full"])
def test_records_are_the_same_with_a_cold_store_a_warm_one_and_none(records, task, changes):
    none = records(task, "none", no_cache=True, **changes)
    cold = records(task, "cold", **changes)
    warm = records(task, "warm", **changes)
    assert len(none) == (2 if task == "cls" else 1)
    for plain, *stored in zip(none, cold, warm, strict=True):
        assert plain["status"] == "complete"
        for other in stored:
            for name in set(plain) | set(other):
                if name == "cost":
                    assert [plain[name][c] for c in COSTS] == [other[name][c] for c in COSTS]
                elif name not in VOLATILE:
                    assert plain[name] == other[name], name


def test_half_precision_is_another_run_and_says_so(records):
    settings = {"image_size": "32"}
    [full] = records("linear", "results", settings=settings)
    [half] = records("linear", "results", settings=settings, cache_precision="fp16")
    [again] = records("linear", "other", settings=settings, cache_precision="fp16", no_cache=True)
    assert "frozen_outputs" not in full["identity"]
    assert half["identity"]["frozen_outputs"] == "fp16"
    assert full["run_id"] != half["run_id"] == again["run_id"]
    assert half["predictions"] == again["predictions"] != full["predictions"]


def test_a_warm_run_imports_no_model_library(tmp_path):
    program = (
        "import sys\nfrom omnibench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print(sorted({'timm', 'open_clip', 'transformers', 'peft'} & set(sys.modules)))"
    )
    said = []
    for folder in ("cold", "warm"):
        arguments = ["run", "--encoder", "vit-small", "--random-weights", "--task", "knn"]
        arguments += ["--dataset", "mni152-tissue", "--recipe", "quick", "--limit", "4"]
        arguments += ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / folder)]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--device", "cpu", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.strip().splitlines()[-1])
    assert "timm" in said[0] and said[1] == "[]"


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_bounds_nothing_is_refused(records, limit):
    with pytest.raises(UsageError, match="--cache-limit takes a number of GB above 0"):
        records("knn", "results", cache_limit=limit)
