"""A recipe so small that a step takes a tenth of a second, and images to run it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnirad.architectures import ARCHITECTURES
from omnirad.job import Job
from omnirad.presets import NANO

# Two epochs of three steps: four at 28 px, then two at 42 px.
TINY = {
    "epochs": 2,
    "batch_size": 8,
    "warmup_epochs": 0.5,
    "crop_size": 28,
    "high_res_size": 42,
    "high_res_share": 0.34,
    "prototypes": 32,
    "head_hidden": 32,
    "head_bottleneck": 16,
    "drop_path": 0.3,
}


@pytest.fixture
def tiny_set() -> list[str]:
    """The tiny recipe as options of the command line."""
    return [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def job_in() -> Callable[..., Job]:
    """Makes jobs of the tiny recipe on 24 images, all in one folder that is given."""
    return make_job


@pytest.fixture
def tiny_job(tmp_path: Path) -> Callable[..., Job]:
    """Makes jobs in the test's own folder, see `job_in`."""
    return partial(make_job, tmp_path)


def make_job(root: Path, out: str = "run", **changes: Any) -> Job:
    """Return a job; keywords change it, or its recipe."""
    if not (root / "images").exists():
        (root / "images").mkdir()
        for number in range(24):
            coarse = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((48, 48))
            image.save(root / "images" / f"{number:03d}.png")
    fields = {n: changes.pop(n) for n in list(changes) if n in NANO.__dataclass_fields__}
    options = {"data": (f"folder:{root / 'images'}",), "device": "cpu", "save_every": 2} | changes
    options |= {"log_every": 1, "judge_every": 2}
    return Job(recipe=replace(NANO, **(TINY | fields)), out=root / out, **options)


@pytest.fixture
def narrow_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes nano as narrow as in the measured trial runs: width 96, depth 4, 3 heads."""
    narrow = replace(ARCHITECTURES["nano"], embed_dim=96, depth=4, num_heads=3)
    monkeypatch.setitem(ARCHITECTURES, "nano", narrow)
