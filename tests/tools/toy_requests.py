"""What the command line would ask for to run the toy plugin (see `conftest.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omnibench.cells import RunRequest


def toy_request(root: Path, **changes: Any) -> RunRequest:
    """Return a request for the toy cell with all folders below `root`; `changes` replace fields."""
    folders = {"data_root": root / "data", "cache": root / "cache", "results": root / "results"}
    asked = {"task": "toy", "random_weights": True, "device": "cpu", **folders, **changes}
    return RunRequest(encoders=["toy-encoder"], datasets=["toy-labels"], **asked)
