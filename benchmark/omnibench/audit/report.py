"""Write what an audit found: `audit.json` and `audit.html`, each whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from omnibench.audit.findings import Findings
from omnibench.audit.page import render
from omnibench.cards import DatasetSpec
from omnibench.errors import SetupError
from omnibench.interfaces import Dataset


def require_writable(out: Path) -> None:
    """Make the folder and prove that it can be written to, before time is spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out, prefix=".probe-"):
            pass
    except OSError as error:
        raise _unwritable(out, error) from None


def write(out: Path, found: Findings, dataset: Dataset, card: DatasetSpec) -> list[Path]:
    """Write both files, replacing those of an earlier audit; return their paths."""
    texts = {
        "audit.json": json.dumps(found.as_json(), indent=1, allow_nan=False) + "\n",
        "audit.html": render(found, dataset, card),
    }
    return [_write(out / name, text) for name, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _unwritable(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"{path} cannot be written ({error.strerror or error}); choose another folder with --out DIR"
    )
