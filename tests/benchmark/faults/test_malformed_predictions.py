"""Predictions that cannot be (statistics.md, section 5, row 10): refused wherever they come in.

Each stands in a record whose digests are all right, as a faulty task or a forger would write it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_records import record
from toy_requests import toy_request

import omnibench_plugins.tasks
from omnibench import predictions as packed
from omnibench.errors import IntegrityError, OmnibenchError
from omnibench.harness import execute
from omnibench.interfaces import Metric, Outcome
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.rescoring import rescore, scores
from omnibench.store import Store
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.verify import verify

Arrays = dict[str, Any]
N, GRID = 6, 448
TASKS = Registry.of(omnibench_plugins.tasks)


def labelled() -> Arrays:
    drawn = np.random.default_rng(0)
    found: Arrays = {}
    for split in ("val", "test"):
        found |= {
            f"{split}_id": np.arange(N),
            f"{split}_score": drawn.random((N, 3)).astype(np.float32),
            f"{split}_label": np.arange(N) % 3,
            f"{split}_group": np.arange(N) // 2,
        }
    return found


def counted() -> Arrays:
    drawn = np.random.default_rng(0)
    found: Arrays = {}
    for split in ("val", "test"):
        size, hit = drawn.integers(2000, 5000, N), drawn.integers(0, 2000, N)
        front = np.stack([hit, hit // 2, size - hit, GRID**2 - size - hit // 2], axis=1)
        counts = np.stack([front[:, [3, 2, 1, 0]], front], axis=1)
        found |= {f"{split}_id": np.arange(N), f"{split}_counts@{GRID}": counts}
        found[f"{split}_counts@native"] = counts
    return found


def captioned() -> Arrays:
    texts = np.array([f"chest x-ray number {i} without findings" for i in range(N)])
    found: Arrays = {}
    for split in ("val", "test"):
        found |= {f"{split}_id": np.arange(N), f"{split}_captions": texts}
        found[f"{split}_references"] = np.stack([texts, np.full(N, "")], axis=1)
    return found


WHOLE: dict[str, Callable[[], Arrays]] = {"cls": labelled, "seg": counted, "caption": captioned}


def put(name: str, value: Any) -> Callable[[Arrays], None]:
    """Replace an array; a function gets the one that was there."""

    def spoil(arrays: Arrays) -> None:
        arrays[name] = value(arrays[name].copy()) if callable(value) else value

    return spoil


def cell(name: str, place: Any, value: Any) -> Callable[[Arrays], None]:
    def spoil(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return spoil


def without(name: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(name)


SCORE, LABEL, ID, GROUP = "test_score", "test_label", "test_id", "test_group"
COUNTS, CAPTIONS, REFERENCES = f"test_counts@{GRID}", "test_captions", "test_references"

FAULTS: dict[str, tuple[str, Callable[[Arrays], Any], str]] = {
    # ids
    "no ids": ("cls", without(ID), "hold no test_id"),
    "no ids of validation": ("cls", without("val_id"), "hold no val_id"),
    "ids twice": ("cls", cell(ID, 3, 2), "6 ids of 5 cases"),
    "ids in another order": ("cls", put(ID, lambda a: a[::-1]), "4 follows 5"),
    "ids as floats": ("cls", put(ID, lambda a: a.astype(float)), "test_id are float64 [6]"),
    "ids as texts": ("cls", put(ID, lambda a: a.astype(str)), "at least one integer"),
    "ids as a table": ("cls", put(ID, lambda a: a[:, None]), "[6, 1]"),
    "one id too few": ("cls", put(ID, lambda a: a[:-1]), "6 rows for the 5 ids"),
    "no case at all": ("cls", put(ID, lambda a: a[:0]), "test_id are int64 [0]"),
    "unsigned ids in another order": (
        "cls",
        put(ID, lambda a: a[::-1].astype(np.uint64)),
        "not ascending",
    ),
    # scores and labels
    "no scores": ("cls", without(SCORE), "the predictions lack 'test_score'"),
    "no labels": ("cls", without(LABEL), "the predictions lack 'test_label'"),
    "one score a case": ("cls", put(SCORE, lambda a: a[:, 0]), "do not fit"),
    "one class": ("cls", put(SCORE, lambda a: a[:, :1]), "do not fit"),
    "scores of three axes": ("cls", put(SCORE, lambda a: a[..., None]), "do not fit"),
    "a score too few": ("cls", put(SCORE, lambda a: a[:-1]), "test_score has 5 rows for the 6"),
    "a label too many": ("cls", put(LABEL, lambda a: np.append(a, 0)), "has 7 rows for the 6"),
    "scores as integers": ("cls", put(SCORE, lambda a: a.astype(int)), "scores are int64"),
    "scores as texts": ("cls", put(SCORE, lambda a: a.astype(str)), "floats and integers were"),
    "complex scores": ("cls", put(SCORE, lambda a: a.astype(complex)), "scores are complex128"),
    "a NaN score": ("cls", cell(SCORE, (2, 1), np.nan), "1 of 18 scores are not finite"),
    "an infinite score": ("cls", cell(SCORE, (2, 1), np.inf), "1 of 18 scores are not finite"),
    "a NaN score of validation": ("cls", cell("val_score", 0, np.nan), "3 of 18 scores are not"),
    "labels as floats": ("cls", put(LABEL, lambda a: a.astype(float)), "labels float64"),
    "a label above all classes": ("cls", cell(LABEL, 1, 3), "labels run from 0 to 3"),
    "a label below zero": ("cls", cell(LABEL, 1, -1), "labels run from -1 to 2"),
    "a scalar": ("cls", put(LABEL, np.array(1)), "test_label has no rows"),
    # groups
    "a group too few": ("cls", put(GROUP, lambda a: a[:-1]), "test_group has 5 rows"),
    "groups as texts": ("cls", put(GROUP, lambda a: a.astype(str)), "one integer a case"),
    "groups as a table": ("cls", put(GROUP, lambda a: a[:, None]), "one integer a case"),
    # counts
    "no counts": (
        "seg",
        lambda a: [a.pop(n) for n in list(a) if n.startswith("test_counts")],
        "hold no test_counts@",
    ),
    "negative counts": ("seg", cell(COUNTS, (1, 1, 0), -1), "counts are negative"),
    "counts that miss a pixel": ("seg", put(COUNTS, lambda a: a - (a == a.max())), "add up"),
    "counts of another grid": ("seg", put(COUNTS, lambda a: a * 4), "on the grid '448'"),
    "counts as floats": ("seg", put(COUNTS, lambda a: a.astype(float)), "counts are float64"),
    "counts of one class": ("seg", put(COUNTS, lambda a: a[:, :1]), "[images, classes, 4]"),
    "counts of three kinds": ("seg", put(COUNTS, lambda a: a[..., :3]), "[images, classes, 4]"),
    "counts of an image too few": ("seg", put(COUNTS, lambda a: a[1:]), "5 rows for the 6 ids"),
    "counts of classes that disagree": (
        "seg",
        cell(COUNTS, (0, 1), [0, 0, 0, GRID**2]),
        "the counts of image 0 do not add up",
    ),
    "empty images": ("seg", put("test_counts@native", lambda a: a * 0), "do not add up"),
    # texts
    "captions as numbers": ("caption", put(CAPTIONS, np.arange(N)), "texts [N] and texts"),
    "captions as bytes": ("caption", put(CAPTIONS, lambda a: a.astype("S")), "texts [N] and"),
    "captions as a table": ("caption", put(CAPTIONS, lambda a: a[:, None]), "contradict"),
    "a caption too few": ("caption", put(CAPTIONS, lambda a: a[1:]), "5 rows for the 6 ids"),
    "references as a list": ("caption", put(REFERENCES, lambda a: a[:, 0]), "texts [N, R]"),
    "references that are empty": ("caption", cell(REFERENCES, 2, " "), "1 of 6 cases of split"),
    "no references": ("caption", without(REFERENCES), "hold no test_references"),
    "an odd lexicon": (
        "caption",
        lambda a: a.update(test_concepts=np.full(N, "C1"), lexicon=np.array(["C1", "x"])),
        "belong together",
    ),
}


def test_there_are_at_least_forty() -> None:
    assert len(FAULTS) >= 40


def metrics_of(task: str, arrays: Arrays) -> dict[str, dict[str, Any]]:
    found = scores(TASKS.task(task).card, arrays)
    return {
        split: {
            m.id: {"value": m.value, "unit": m.unit, "higher_is_better": m.higher_is_better}
            | ({"resource": m.resource} if m.resource else {})
            for m in metrics
        }
        for split, metrics in found.items()
    }


def made_of(task: str, arrays: Arrays) -> tuple[RunRecord, bytes]:
    """Return a record and a file that belong together, whatever the arrays hold."""
    whole = metrics_of(task, WHOLE[task]())
    base = record()
    told = {**base.identity["task"], "name": task, "version": TASKS.task(task).card.version}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "isfinite", np.ones_like)  # `pack` would refuse
        data = packed.pack(arrays)
    return dataclasses.replace(
        base,
        identity={**base.identity, "task": told},
        metrics=whole["test"],
        validation=whole["val"],
        predictions=packed.describe(data, arrays),
    ), data


def write(results: Path, made: RunRecord, data: bytes) -> None:
    folder = Store(results).folder(made.run_id)
    folder.mkdir(parents=True)
    assert made.predictions is not None
    (folder / f"{hashlib.sha256(data).hexdigest()}.npz").write_bytes(data)
    (folder / f"{made.record_sha256}.json").write_text(made.to_json())


@pytest.mark.parametrize("task", WHOLE)
def test_the_same_records_unspoilt_are_verified(tmp_path: Path, task: str) -> None:
    write(tmp_path, *made_of(task, WHOLE[task]()))
    (line,) = rescore(tmp_path, TASKS)
    verdict = verify([tmp_path], TASKS)
    assert line.exit_code == 0 and "metrics equal" in line.verdict
    assert verdict.exit_code == 0 and len(verdict.collection.runs) == 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_malformed_file_is_refused_in_one_line_wherever_it_comes_in(
    tmp_path: Path, name: str
) -> None:
    task, spoil, message = FAULTS[name]
    arrays = WHOLE[task]()
    spoil(arrays)
    with pytest.raises(OmnibenchError) as raised:  # where a task hands it in
        scores(TASKS.task(task).card, arrays)
    write(tmp_path, *made_of(task, arrays))
    (line,) = rescore(tmp_path, TASKS)
    verdict = verify([tmp_path], TASKS)
    (problem,) = verdict.problems
    (exclusion,) = collect([tmp_path], TASKS).exclusions
    for told in (str(raised.value), line.verdict, problem.reason, exclusion.reason):
        assert message in told and "\n" not in told and len(told) < 400
    assert (line.exit_code, problem.exit_code, verdict.exit_code) == (4, 4, 4)
    assert verdict.collection.runs == ()


def test_whatever_a_strangers_task_raises_ends_nobody_elses_table(tmp_path: Path) -> None:
    class Broken:
        name, version = "cls", 1

        def score(self, predictions: Any, split: str = "test") -> Any:
            return 1 // 0

    registry = Registry.of(omnibench_plugins.tasks)
    write(tmp_path, *made_of("cls", labelled()))
    broken = dataclasses.replace(registry.task("cls"), card=Broken())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "task", lambda self, name: broken)
        (line,) = rescore(tmp_path, registry)
    assert line.exit_code == 4
    assert line.verdict == (
        "task 'cls' cannot score these predictions (ZeroDivisionError: integer division or modulo "
        "by zero)"
    )


def test_a_metric_that_is_no_number_or_given_twice_is_refused() -> None:
    class Odd:
        name = "odd"

        def __init__(self, *values: float) -> None:
            self.values = values

        def score(self, predictions: Any, split: str = "test") -> list[Metric]:
            return [Metric(id="m", value=value) for value in self.values]

    with pytest.raises(IntegrityError, match="test: m of these predictions are not finite"):
        scores(Odd(float("nan")), labelled())  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match="gives a metric twice"):
        scores(Odd(0.5, 0.5), labelled())  # type: ignore[arg-type]


# ---- handed in by a task, through the harness ---------------------------------------------


def shifted(outcome: Outcome) -> Outcome:
    arrays = {**outcome.predictions, "test_id": outcome.predictions["test_id"] + 1}
    return dataclasses.replace(outcome, predictions=arrays)


def fewer(outcome: Outcome) -> Outcome:
    arrays = {name: array[1:] for name, array in outcome.predictions.items()}
    return dataclasses.replace(outcome, predictions=arrays)


def no_rows(outcome: Outcome) -> Outcome:
    arrays = {**outcome.predictions, "test_score": outcome.predictions["test_score"][1:]}
    return dataclasses.replace(outcome, predictions=arrays)


def objects(outcome: Outcome) -> Outcome:
    arrays = {**outcome.predictions, "notes": np.array([{}], dtype=object)}
    return dataclasses.replace(outcome, predictions=arrays)


def no_number(outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, details={"loss": float("nan")})


def endless(outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, details={"losses": [0.123456789] * 10**5})


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (shifted, "plugin", "predicted 8 cases of split 'test' and the dataset has 8, or they"),
        (fewer, "plugin", "predicted 7 cases of split 'test' and the dataset has 8"),
        (no_rows, "integrity", "test_score has 7 rows for the 8 ids"),
        (objects, "integrity", "'notes' are an object array"),
        (no_number, "integrity", "plain, finite JSON data only"),
        (endless, "integrity", "are too many for a record"),
    ],
)
def test_what_a_task_hands_in_is_refused_and_recorded(
    tmp_path: Path,
    toy: Any,
    toy_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Outcome], Outcome],
    kind: str,
    message: str,
) -> None:
    request = toy_request(tmp_path)
    run = toy.task.run
    monkeypatch.setattr(toy.task, "run", lambda *rest: (spoil(found) for found in run(*rest)))
    ((_, failed, path),) = execute(plan(request, toy_registry), request)
    assert failed.status == "failed" and failed.failure is not None
    assert failed.failure["kind"] == kind and message in caplog.text
    assert Store(request.results).read(path) == failed
    assert not list(request.results.rglob("*.npz"))
