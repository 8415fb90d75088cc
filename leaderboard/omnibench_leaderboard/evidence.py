"""What a record's predictions prove: its metrics, its cases, and that they are its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from omnibench.errors import IntegrityError
from omnibench.records import Arrays, RunRecord
from omnibench.registry import Registry
from omnibench.rescoring import recompute
from omnibench.store import Store
from omnibench_leaderboard.cache import Cache, source_digest

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raise whenever this file would find something else in the same predictions
TRUTHS = ("test_id", "test_label", "test_group", "test_references")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found in the predictions of one complete record.

    Args:
        verdict: What was recomputed, in words.
        cases: Number of test cases, 0 where the task stores no ids.
        truth: Digest of what every record of one dataset must agree about: ids, groups, labels
            or reference pixels or texts.
        content: Digest of all test predictions, whatever file they stand in.
        constant: One class, or one text, is predicted everywhere: then equal predictions of
            two encoders are no sign of copying.
    """

    verdict: str
    cases: int
    truth: str
    content: str
    constant: bool


def examine(
    store: Store, record: RunRecord, sha256: str, registry: Registry, cache: Cache | None = None
) -> Evidence:
    """Recompute the metrics of a complete record from its predictions.

    `sha256` is the record's digest. With a cache, the predictions' digest is checked every time and the metrics only once for
    each version of the code that computes them.

    Raises:
        IntegrityError: If predictions are damaged or metrics differ.
        UsageError: If no installed plugin offers the record's task.
    """
    question = {
        "what": "evidence",
        "version": VERSION,
        "record": sha256,
        "code": scoring_code(record, registry),
    }
    if cache is not None and (known := cache.get(question)) is not None:
        _require_file(store, record)
        return Evidence(**known)
    verdict = recompute(store, record, registry)
    evidence = _describe(store.predictions(record), verdict)
    if cache is not None:
        cache.put(question, asdict(evidence))
    return evidence


def scoring_code(record: RunRecord, registry: Registry) -> str:
    """Return a digest of the code that turns a record's predictions into metrics."""
    task = record.identity["task"]
    module = type(registry.task(f"{task['plugin']}/{task['name']}").card).__module__
    package = ".".join(module.split(".")[:2])  # built-in tasks share what they score with
    return source_digest("omnibench.metrics", module, package)


def _require_file(store: Store, record: RunRecord) -> None:
    """Raise unless the predictions file is there, with the digest that the record states."""
    stated = (record.predictions or {}).get("sha256")
    path = store.folder(record.run_id) / f"{stated}.npz"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise IntegrityError(f"{path}: the predictions of a complete record are missing") from None
    if found != stated:
        raise IntegrityError(
            f"{path}: predictions have digest {found[:12]}…, the record states {str(stated)[:12]}…"
        )


def _describe(arrays: Arrays, verdict: str) -> Evidence:
    test = {name: array for name, array in arrays.items() if name.startswith("test_")}
    truth = {name: array for name, array in test.items() if name in TRUTHS}
    counts = {name: array for name, array in test.items() if name.startswith("test_counts@")}
    # True positives and false negatives are the reference's pixels, whatever was predicted.
    truth |= {name: array[..., 0] + array[..., 2] for name, array in counts.items()}
    return Evidence(
        verdict=verdict,
        cases=len(test.get("test_id", ())),
        truth=_digest(truth),
        content=_digest(test),
        constant=_is_constant(test.get("test_captions"), list(counts.values())),
    )


def _is_constant(captions: Any, counts: list[np.ndarray[Any, Any]]) -> bool:
    if captions is not None:
        return len(set(captions.tolist())) <= 1
    predicted = [(array[..., 0] + array[..., 1]).sum(axis=0) for array in counts]
    return bool(counts) and all((pixels > 0).sum() == 1 for pixels in predicted)


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
