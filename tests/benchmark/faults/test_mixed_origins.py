"""Something changed between two seeds (statistics.md, section 5, row 7): never pooled, and told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from toy_requests import toy_request

from omnibench import environment, harness
from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.cells import RunRequest
from omnibench.interfaces import Metric
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench.summary import summarise
from omnibench_leaderboard.collect import collect

Patch = pytest.MonkeyPatch


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return toy_request(tmp_path, seeds=(0, 1))


def code(toy: Any, patch: Patch) -> dict[str, Any]:
    old = environment.code
    patch.setattr(environment, "code", lambda modules: old(modules) | {"semantic_sha256": "c" * 64})
    return {}


def packages(toy: Any, patch: Patch) -> dict[str, Any]:
    old = environment.versions
    patch.setattr(environment, "versions", lambda names: old(names) | {"numpy": "0.1"})
    return {}


def protocol(toy: Any, patch: Patch) -> dict[str, Any]:
    return {"settings": {"lr": "0.5"}}


def precision(toy: Any, patch: Patch) -> dict[str, Any]:
    return {"precision": "bf16"}


def limit(toy: Any, patch: Patch) -> dict[str, Any]:
    return {"limit": 4}


def device(toy: Any, patch: Patch) -> dict[str, Any]:
    patch.setattr(harness, "accelerator", lambda *asked: ("mps", "fp32"))
    return {}


def dataset(toy: Any, patch: Patch) -> dict[str, Any]:
    (old, _) = toy.omnibench_datasets()

    def other(access: Any) -> Any:
        return dataclasses.replace(old.open(access), digest="cd" * 32)

    spec: DatasetSpec = dataclasses.replace(old, open=other)
    toy.omnibench_datasets = hook(toy.omnibench_datasets, [spec])
    return {}


def weights(toy: Any, patch: Patch) -> dict[str, Any]:
    (old,) = toy.omnibench_encoders()
    file = Path("other.safetensors").absolute()
    save_file(old.build(weights=None, random_init=True).backbone.state_dict(), file)

    def build(*, weights: Path | None, random_init: bool) -> Any:
        encoder = old.build(weights=weights, random_init=random_init)
        if weights is not None:
            encoder.backbone.load_state_dict(load_file(weights))
        return encoder

    spec: EncoderSpec = dataclasses.replace(old, build=build)
    toy.omnibench_encoders = hook(toy.omnibench_encoders, [spec])
    return {"weights": file, "random_weights": False}


def plugin(toy: Any, patch: Patch) -> dict[str, Any]:
    return {}  # `registry` gives it another version


def metric(toy: Any, patch: Patch) -> dict[str, Any]:
    toy.task.version = 2
    toy.task.score = lambda predictions, split="test": [Metric(id="accuracy", value=0.25)]
    return {}


def hook(old: Callable[[], Any], offers: list[Any]) -> Callable[[], Any]:
    def new() -> list[Any]:
        return offers

    new.__dict__.update(old.__dict__)  # pluggy's mark
    return new


def registry(toy: Any, version: str = "0") -> Registry:
    found = Registry()
    found._add("toybox", version, "toy", lambda: toy)
    return found


ASKED = {protocol, precision, limit, device, dataset, weights, plugin, metric}


@pytest.mark.parametrize(
    "change",
    [code, packages, protocol, precision, limit, device, dataset, weights, plugin, metric],
)
def test_what_changed_between_seeds_is_never_pooled(
    request_: RunRequest,
    toy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Any, Patch], dict[str, Any]],
) -> None:
    monkeypatch.chdir(tmp_path)
    first = list(harness.execute(plan(request_, registry(toy)), request_))
    assert caplog.text == "" and toy.task.runs == [0, 1]
    changed = dataclasses.replace(request_, seeds=(0, 1, 2), **change(toy, monkeypatch))
    registered = registry(toy, "1" if change is plugin else "0")
    told_before = []
    run = toy.task.run
    monkeypatch.setattr(
        toy.task, "run", lambda *rest: (told_before.append(caplog.text), run(*rest))[1]
    )
    then = list(harness.execute(plan(changed, registered), changed))
    records = {path: record for _, record, path in (*first, *then)}
    if change in ASKED:
        # New questions: every seed is run anew, under an id of its own.
        assert toy.task.runs == [0, 1, 0, 1, 2] and len(records) == 5
        assert len({record.run_id for record in records.values()}) == 5
    else:
        # The same questions: what is there is kept, and told before anything is trained.
        assert toy.task.runs == [0, 1, 2] and len(records) == 3
        assert f"by other {change.__name__} than today's" in told_before[0]
        summary = summarise([(r, str(p)) for p, r in records.items()], [], "accuracy")
        assert summary.seeds == (0, 1) and summary.notes[0].startswith("MIXED_CODE: seeds 2 ")
    collection = collect([request_.results], registered)
    for runs in collection.cells.values():
        assert len({origin(run.record) for run in runs}) == 1
    kept = sum(map(len, collection.cells.values()))
    assert kept + len(collection.exclusions) == len(records)
    told = " ".join(item.reason for item in collection.exclusions)
    if change not in ASKED:
        assert kept == 2 and "MIXED_CODE" in told and f"other {change.__name__}" in told


def origin(record: Any) -> tuple[Any, ...]:
    """Everything that seeds of one cell must share."""
    identity = {k: v for k, v in record.identity.items() if k != "seed"}
    return (repr(identity), *record.software.values(), tuple(record.metrics))
