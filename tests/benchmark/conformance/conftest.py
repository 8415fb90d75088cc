"""Runs of the toy task with an encoder of the test's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnibench.cells import RunRequest
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.records import RunRecord

RunToy = Callable[..., list[RunRecord]]


@pytest.fixture
def run_toy(tmp_path: Path, toy_registry: Any) -> RunToy:
    """Runs the toy task with encoders that `build` makes; returns the records of its seeds."""

    def run(build: Callable[..., Any], card: dict[str, Any] | None = None, **request: Any) -> Any:
        offer = toy_registry.encoders[0]
        made = dataclasses.replace(
            offer.card, build=build, embed_dim=32, patch_size=8, depth=3, **(card or {})
        )
        toy_registry.encoders[0] = dataclasses.replace(offer, card=made)
        asked = {"random_weights": True, "device": "cpu", "results": tmp_path / "results"} | request
        wanted = RunRequest(
            encoders=["toy-encoder"],
            task="toy",
            datasets=["toy-labels"],
            data_root=tmp_path / "data",
            cache=tmp_path / "cache",
            **asked,
        )
        return [record for _, record, _ in execute(plan(wanted, toy_registry), wanted)]

    return run
