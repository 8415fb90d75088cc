"""Complete records of a toy classification, small and in the real format."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from omnibench.records import SCHEMA, RunRecord
from omnibench.store import Store

Arrays = dict[str, np.ndarray[Any, Any]]


def arrays(seed: int = 0, cases: int = 6) -> Arrays:
    """Return ids, scores [N, 2] and labels of both splits."""
    drawn = np.random.default_rng(seed)
    found: Arrays = {}
    for split in ("val", "test"):
        found |= {
            f"{split}_id": np.arange(cases, dtype=np.int64),
            f"{split}_score": drawn.normal(size=(cases, 2)).astype(np.float32),
            f"{split}_label": np.arange(cases) % 2,
        }
    return found


def record(seed: int = 0, predictions: Arrays | None = None, **changes: Any) -> RunRecord:
    """Return the record of a run; `changes` replace fields of it."""
    found = RunRecord(
        identity={
            "schema": SCHEMA,
            "encoder": {
                "name": "vit-a",
                "plugin": "omnibench",
                "plugin_version": "",
                "weights": "official",
                "weights_sha256": "0" * 64,
            },
            "dataset": {
                "name": "breastmnist",
                "plugin": "omnibench",
                "content_sha256": "1" * 64,
                "limit": 0,
            },
            "task": {
                "name": "cls",
                "plugin": "omnibench",
                "plugin_version": "",
                "version": 1,
                "recipe": "paper",
                "variant": "",
                "protocol_sha256": "2" * 64,
            },
            "tuning": "full",
            "seed": seed,
            "device": "cpu",
            "precision": "fp32",
        },
        status="complete",
        label="vit-a",
        metrics={"accuracy": {"value": 0.5, "unit": "fraction", "higher_is_better": True}},
        predictions=Store.prepare(arrays(seed) if predictions is None else predictions),
        recipe={"lr": "0.001", "seeds": "5"},
        details={"train_losses": [0.5, 0.25], "flags": ["naïve “text” \U0001f9e0"]},
        timing={"ended": "2026-01-01T00:00:00+00:00", "seconds": 1.5},
    )
    return dataclasses.replace(found, **changes)


def restated(body: dict[str, Any]) -> bytes:
    """Return the JSON of a changed record under the digest of its new content, as a forger would."""
    body.pop("record_sha256", None)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    body["record_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(body, ensure_ascii=False).encode()
