"""Synthetic records in the real format, and a registry of the built-in tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator that timings use too."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "performance"))
    import synthetic_results

    return synthetic_results


@pytest.fixture(scope="session")
def tasks() -> Registry:
    """The built-in tasks, as `omnibench` finds them."""
    import omnibench_plugins.tasks

    return Registry.of(omnibench_plugins.tasks)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder."""
    return tmp_path / "results"


@pytest.fixture
def add(results: Path, synthetic: ModuleType) -> Callable[..., RunRecord]:
    """Save one classification run; keywords go to its predictions or to its record."""

    def save(
        encoder: str = "vit-a",
        seed: int = 0,
        dataset: str = "breastmnist",
        cases: int = 40,
        skill: float = 1.0,
        like: tuple[str, int] | None = None,
        folder: Path | None = None,
        **changes: object,
    ) -> RunRecord:
        drawn_as, drawn_seed = like or (encoder, seed)
        arrays = synthetic.cls_predictions(drawn_as, dataset, drawn_seed, cases=cases, skill=skill)
        made = synthetic.record(arrays, encoder=encoder, dataset=dataset, seed=seed, **changes)
        Store(folder or results).save(made, arrays)
        return made

    return save


@pytest.fixture(scope="session")
def boards() -> ModuleType:
    """Boards made by hand, and names that try to break out of every format."""
    sys.path.insert(0, str(Path(__file__).parent))
    import hand_made_boards

    return hand_made_boards
