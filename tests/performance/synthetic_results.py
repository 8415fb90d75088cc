"""Write a results folder of synthetic records, in the real format, for tests and timings.

    python tests/performance/synthetic_results.py --out DIR --encoders 20 --datasets 15 --seeds 5

Scores come from a model with difficulty of cases, skill of encoders and noise of seeds; metrics
are computed from them by the built-in tasks, so that every record verifies.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from omnibench.interfaces import Metric
from omnibench.recipe import digest
from omnibench.records import SCHEMA, RunRecord
from omnibench.store import Store
from omnibench_plugins.tasks.cls.task import Classification
from omnibench_plugins.tasks.seg.task import Segmentation

Arrays = dict[str, np.ndarray[Any, Any]]
TASKS = {"cls": Classification(), "seg": Segmentation()}
GRID = 448  # pixels a side


def sha(*parts: object) -> str:
    """Return a digest of anything with a text."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def drawn(*parts: object) -> np.random.Generator:
    """Return a generator that depends on nothing but `parts`."""
    return np.random.default_rng(int(sha(*parts)[:16], 16))


def cls_predictions(
    encoder: str, dataset: str, seed: int, *, cases: int, classes: int = 2, skill: float = 1.0
) -> Arrays:
    """Return scores and labels: labels and difficulty belong to the dataset."""
    arrays: Arrays = {}
    for split in ("val", "test"):
        case = drawn(dataset, split)
        labels = case.integers(0, classes, cases)
        labels[:classes] = np.arange(classes)
        logits = case.normal(0, 1.5, (cases, classes))
        logits += drawn(dataset, split, encoder).normal(0, 0.5, (cases, classes))
        logits += drawn(dataset, split, encoder, seed).normal(0, 0.3, (cases, classes))
        logits[np.arange(cases), labels] += 2 + skill
        powers = np.exp(logits)
        arrays |= {
            f"{split}_id": np.arange(cases, dtype=np.int64),
            f"{split}_label": labels,
            f"{split}_score": powers / powers.sum(axis=1, keepdims=True),
        }
    return arrays


def seg_predictions(
    encoder: str, dataset: str, seed: int, *, cases: int, skill: float = 1.0
) -> Arrays:
    """Return pixel counts of two classes on the grid and at native size."""
    arrays: Arrays = {}
    for split in ("val", "test"):
        case = drawn(dataset, split)
        size = case.integers(500, 20_000, cases)
        ease = case.normal(1 + skill, 0.7, cases) + drawn(dataset, split, encoder).normal(
            0, 0.3, cases
        )
        ease += drawn(dataset, split, encoder, seed).normal(0, 0.2, cases)
        hit = (size / (1 + np.exp(-ease))).astype(np.int64)
        surplus = ((size - hit) * 0.8).astype(np.int64)
        background = GRID**2 - size - surplus
        foreground = np.stack([hit, surplus, size - hit, background], axis=1)
        counts = np.stack([foreground[:, [3, 2, 1, 0]], foreground], axis=1)
        arrays |= {
            f"{split}_id": np.arange(cases, dtype=np.int64),
            f"{split}_counts@{GRID}": counts,
            f"{split}_counts@native": counts,
        }
    return arrays


def record(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    *,
    encoder: str = "vit-a",
    dataset: str = "breastmnist",
    task: str = "cls",
    seed: int = 0,
    recipe: str = "paper",
    tuning: str | None = None,
    **changes: Any,
) -> RunRecord:
    """Return a complete record of these predictions; `changes` replace fields of it."""
    scored = TASKS[task]
    whole = RunRecord(
        identity={
            "schema": SCHEMA,
            "encoder": {
                "name": encoder,
                "plugin": "omnibench",
                "plugin_version": "",
                "weights": "official",
                "weights_sha256": sha("weights", encoder),
            },
            "dataset": {
                "name": dataset,
                "plugin": "omnibench",
                "content_sha256": sha("data", dataset),
                "limit": 0,
            },
            "task": {
                "name": task,
                "plugin": "omnibench",
                "plugin_version": "",
                "version": scored.version,
                "recipe": recipe,
                "variant": "",
                "protocol_sha256": digest({"task": task, "recipe": recipe}),
            },
            "tuning": tuning or ("full" if task == "cls" else "frozen"),
            "seed": seed,
            "device": "cpu",
            "precision": "fp32",
        },
        status="complete",
        label=encoder,
        metrics=_metrics(scored.score(arrays, "test")),
        validation=_metrics(scored.score(arrays, "val")),
        predictions=Store.prepare(arrays),
        recipe={"seeds": "5", "lr": "0.001"},
        dataset={"kind": "labels", "licence": "CC BY 4.0", "commercial": True, "facts": {}},
        encoder={"family": "toy", "licence": "Apache-2.0", "commercial": True},
        environment={"python": "3.11"},
        code={"git_commit": "", "dirty": False, "semantic_sha256": sha("code")},
        timing={
            "started": "2026-01-01T00:00:00+00:00",
            "ended": f"2026-01-01T00:{seed:02d}:00+00:00",
        },
        cost={
            "params_total": 22_000_000,
            "params_trainable": 770,
            "flops_per_image": 9_000_000_000,
            "images_per_second": 20.0,
            "peak_memory_bytes": 2**30,
            "seconds": 60.0,
        },
    )
    return replace(whole, **changes)


def _metrics(metrics: Any) -> dict[str, Any]:
    found: list[Metric] = list(metrics)
    return {
        m.id: {"value": m.value, "unit": m.unit, "higher_is_better": m.higher_is_better}
        for m in found
    }


def grid_of_records(
    encoders: int, datasets: int, seeds: int, cases: int
) -> Iterator[tuple[RunRecord, Arrays]]:
    """Yield a full grid: one dataset in three is classification with 2 to 11 classes."""
    for d in range(datasets):
        task = "cls" if d % 3 == 0 else "seg"
        dataset = f"{task}-{d:02d}"
        for e in range(encoders):
            encoder, skill = f"encoder-{e:02d}", e / encoders
            for seed in range(seeds):
                make = {"cases": cases, "skill": skill}
                arrays = (
                    cls_predictions(encoder, dataset, seed, classes=2 + 3 * (d % 4), **make)
                    if task == "cls"
                    else seg_predictions(encoder, dataset, seed, **make)
                )
                yield record(arrays, encoder=encoder, dataset=dataset, task=task, seed=seed), arrays


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("encoders", 20), ("datasets", 15), ("seeds", 5), ("cases", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    store = Store(options.out)
    for made, arrays in grid_of_records(
        options.encoders, options.datasets, options.seeds, options.cases
    ):
        store.save(made, arrays)


if __name__ == "__main__":
    main()
