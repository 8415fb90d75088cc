"""Runs of the built-in tasks that fail, or end with one prediction for everything."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import omnibench_plugins.tasks
from omnibench import hookimpl
from omnibench.cards import DataAccess, DatasetKind, DatasetSpec, EncoderSpec
from omnibench.cells import RunRequest
from omnibench.conformance.specimens import (
    SpecimenDataset,
    SpecimenEncoder,
    SpecimenSplit,
    build,
    dataset_card,
    encoder_card,
)
from omnibench.encoder import Encoder, Features
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.summary import summarise

Build = Callable[..., Encoder]
KINDS: dict[str, DatasetKind] = {"cls": "labels", "seg": "masks", "caption": "captions"}
TINY = {
    "cls": {"epochs": "2", "image_size": "32", "batch_size": "4", "warmup_epochs": "0"},
    "seg": {"epochs": "2", "image_size": "64", "batch_size": "4"},
    "caption": {
        "epochs": "2",
        "image_size": "32",
        "batch_size": "4",
        "language_model": "scratch",
        "decodings": "beam1-16",
        "warmup_steps": "0",
    },
}


@dataclasses.dataclass(frozen=True)
class OneAnswerSplit(SpecimenSplit):
    """Every sample of it has the target of the first."""

    def target(self, index: int) -> Any:
        return np.zeros((32, 32), np.uint8) if self.kind == "masks" else super().target(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneAnswer(SpecimenDataset):
    """Its training split has one answer for everything, the others have several."""

    def split(self, name: str) -> SpecimenSplit:
        found = super().split(name)
        return found if name == "test" else OneAnswerSplit(**dataclasses.asdict(found))


def open_one(kind: DatasetKind, access: DataAccess) -> OneAnswer:
    return OneAnswer(kind=kind)


class Plugin:
    """The made-up encoder and datasets as a plugin."""

    __name__ = "specimens"

    def __init__(self, build: Build, one_answer: bool) -> None:
        self.card = dataclasses.replace(encoder_card(), build=build)
        self.one_answer = one_answer

    @hookimpl
    def omnibench_encoders(self) -> list[EncoderSpec]:
        return [self.card]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        cards = [dataset_card(kind) for kind in KINDS.values()]
        if self.one_answer:
            cards = [
                dataclasses.replace(c, open=functools.partial(open_one, c.kind)) for c in cards
            ]
        return cards


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[RunRecord]]:
    """Runs a built-in task on made-up images; returns the records of its seeds."""

    def run_task(
        task: str,
        build: Build = build,
        one_answer: bool = False,
        seeds: tuple[int, ...] = (0, 1),
        **settings: str,
    ) -> Any:
        registry = Registry.of(omnibench_plugins.tasks, Plugin(build, one_answer))
        request = RunRequest(
            encoders=["specimen"],
            task=task,
            datasets=[f"specimen-{KINDS[task]}"],
            recipe="quick",
            settings=TINY[task] | settings,
            seeds=seeds,
            data_root=tmp_path,
            cache=tmp_path / "cache",
            results=tmp_path / "results",
            device="cpu",
        )
        return [record for _, record, _ in execute(plan(request, registry), request)]

    return run_task


class NotANumberInTraining(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=found.pooled / 0) if self.training else found


def test_a_loss_that_is_no_number_ends_the_seed_and_names_the_epoch(run: Any) -> None:
    records = run("cls", lambda **_: NotANumberInTraining(build().backbone))  # type: ignore[arg-type]
    assert [r.status for r in records] == ["failed", "failed"], "the other seed was tried"
    for record in records:
        assert record.failure["kind"] == "nan_loss" and record.failure["epoch"] == 1
        assert "in epoch 1, step 1" in record.failure["message"]
        assert "--set lr=" in record.failure["message"]


@pytest.mark.parametrize(("task", "seeds"), [("cls", (0, 1)), ("seg", (0,)), ("caption", (0,))])
def test_a_loss_that_explodes_ends_the_seed_and_names_the_epoch(
    run: Any, task: str, seeds: tuple[int, ...]
) -> None:
    records = run(task, seeds=seeds, lr="1e30")
    assert [r.status for r in records] == ["failed"] * len(seeds)
    for record in records:
        assert record.failure["kind"] == "nan_loss" and record.failure["epoch"] in (1, 2)
        assert f"in epoch {record.failure['epoch']}, step" in record.failure["message"]


@pytest.mark.parametrize(
    ("task", "settings"),
    [("cls", {"lr": "1e-2"}), ("seg", {"lr": "1e-2"}), ("caption", {"lr": "1e-3", "epochs": "4"})],
)
def test_one_prediction_for_everything_completes_with_a_flag(
    run: Any, task: str, settings: dict[str, str]
) -> None:
    (record,) = run(task, one_answer=True, seeds=(0,), **settings)
    assert record.status == "complete"
    assert any(flag.startswith("CONSTANT") for flag in record.details["flags"])
    notes = summarise([(record, "")], [], next(iter(record.metrics))).notes
    assert any("CONSTANT" in note for note in notes), "the table says so too"


class Hungry(SpecimenEncoder):
    """Runs out of memory in training, or where whole chunks are predicted; counts its batches."""

    def __init__(self, backbone: Any, when: str, error: BaseException, seen: set[int]) -> None:
        super().__init__(backbone)
        self.when, self.error, self.seen = when, error, seen

    def __deepcopy__(self, memo: dict[int, Any]) -> Hungry:
        copy = Hungry(build().backbone, self.when, self.error, self.seen)
        copy.load_state_dict(self.state_dict())
        return copy

    def _features(self, x: Tensor) -> Features:
        phase = "train" if self.training else "eval" if len(x) == 16 else "look"
        if self.training:
            self.seen.add(len(x))
        if phase == self.when:
            raise self.error
        return super()._features(x)


@pytest.mark.parametrize("when", ["load", "train", "eval"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), MemoryError()]
)
def test_running_out_of_memory_fails_with_advice_and_changes_no_batch(
    run: Any, when: str, error: BaseException
) -> None:
    seen: set[int] = set()

    def hungry(*, weights: Path | None, random_init: bool) -> Encoder:
        if when == "load":
            raise error
        return Hungry(build().backbone, when, error, seen)

    records = run("cls", hungry)
    assert [r.failure["kind"] for r in records] == ["oom", "oom"], "the other seed was tried"
    for record in records:
        assert "--set batch_size=" in record.failure["message"]
        assert "another protocol" in record.failure["message"]
        assert record.recipe["batch_size"] == "4"
    assert seen == (set() if when == "load" else {4})
    assert summarise([(r, "") for r in records], [], "f1_macro").exit_code == 1
