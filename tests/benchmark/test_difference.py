"""`omnibench diff`: the same run, replicates or other runs, and what can explain the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from omnibench.cli import cli
from omnibench.difference.cases import differing_cases
from omnibench.difference.chosen import Chosen, one
from omnibench.difference.comparison import UNEXPLAINED, Comparison, compare
from omnibench.difference.folders import compare_folders
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench.records import RunRecord
from omnibench.store import Store

IDENTITY: dict[str, Any] = {
    "schema": "omnibench.run/1",
    "encoder": {"name": "vit", "weights_sha256": "0" * 64},
    "dataset": {"name": "busi", "content_sha256": "1" * 64, "limit": 0},
    "task": {
        "name": "toy", "plugin": "omnibench", "version": 1, "recipe": "paper", "variant": "",
        "protocol_sha256": "2" * 64,
    },
    "tuning": "full",
    "seed": 0,
    "device": "cpu",
    "precision": "fp32",
}  # fmt: skip
SCORES = np.array([0.1, 0.7, 0.9], dtype=np.float32)


def arrays(scores: np.ndarray[Any, Any] = SCORES) -> dict[str, np.ndarray[Any, Any]]:
    return {"test_id": np.array([3, 5, 8]), "test_score": scores, "test_label": np.array([0, 1, 1])}


def save(
    root: Path, value: float = 0.5, scores: np.ndarray[Any, Any] = SCORES, **changes: Any
) -> Path:
    """Store a record; `changes` replace its fields."""
    found = arrays(scores)
    record = RunRecord(
        identity=IDENTITY,
        status="complete",
        label="vit",
        metrics={"accuracy": {"value": value, "unit": "fraction", "higher_is_better": True}},
        predictions=Store.prepare(found),
        recipe={"lr": "0.1"},
        environment={"packages": {"numpy": "2.0"}, "threads": 1, "platform": "Linux"},
        code={"semantic_sha256": "c" * 64, "git_commit": "d" * 40},
        timing={"ended": "2026-11-22T10:00:00+00:00"},
    )
    return Store(root).save(replace(record, **changes), found)


def identity(**changes: Any) -> dict[str, Any]:
    return {**IDENTITY, **changes}


def compared(a: Path, b: Path) -> Comparison:
    return compare(one(str(a), Path("none")), one(str(b), Path("none")))


def test_one_record_is_the_same_as_itself(tmp_path: Path) -> None:
    path = save(tmp_path)
    found = compared(path, path)
    assert (found.relation, found.equal, found.rows) == ("same record", True, ())


def test_the_same_run_made_twice_with_equal_numbers_are_replicates(tmp_path: Path) -> None:
    found = compared(save(tmp_path), save(tmp_path, timing={"ended": "2026-11-23T10:00:00+00:00"}))
    assert (found.relation, found.equal, found.reasons) == ("replicates", True, ())
    assert [row.name for row in found.rows] == ["timing.ended"]


def test_replicates_that_differ_without_a_reason_say_so(tmp_path: Path) -> None:
    other = np.array([0.1, 0.4, 0.9], dtype=np.float32)
    found = compared(save(tmp_path), save(tmp_path, 0.625, other))
    assert found.told.startswith("REPLICATES DIFFER: ")
    assert found.reasons == (UNEXPLAINED,)
    (metric,) = [row for row in found.rows if row.group == "metrics"]
    assert metric.difference == pytest.approx(12.5), "fractions are compared in points"
    (case,) = found.cases
    assert (case.ids, case.shared) == ((5,), 3)
    assert case.largest["test_score"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"identity": identity(seed=1)}, "another seed: identity.seed"),
        ({"identity": identity(precision="bf16")}, "something else was asked for: identity.prec"),
        ({"recipe": {"lr": "0.2"}}, "something else was asked for: recipe.lr"),
        (
            {"identity": identity(dataset={**IDENTITY["dataset"], "content_sha256": "9" * 64})},
            "other data: identity.dataset.content_sha256",
        ),
        ({"code": {"semantic_sha256": "e" * 64}}, "other code that numbers pass through: code.sem"),
        (
            {"environment": {"packages": {"numpy": "2.1"}, "threads": 1, "platform": "Linux"}},
            "other versions of packages: environment.packages.numpy",
        ),
        (
            {"environment": {"packages": {"numpy": "2.0"}, "threads": 8, "platform": "Linux"}},
            "other rounding: environment.threads",
        ),
        (
            {"details": {"assets": {"language_model": {"sha256": "f" * 64}}}},
            "other files besides the encoder: details.assets.language_model.sha256",
        ),
    ],
)
def test_each_kind_of_difference_is_named_as_an_explanation(
    tmp_path: Path, changes: Mapping[str, Any], reason: str
) -> None:
    found = compared(save(tmp_path / "a"), save(tmp_path / "b", 0.75, **changes))
    assert len(found.reasons) == 1 and found.reasons[0].startswith(reason)


def test_cost_and_an_older_commit_explain_nothing(tmp_path: Path) -> None:
    code = {"semantic_sha256": "c" * 64, "git_commit": "e" * 40}
    found = compared(
        save(tmp_path / "a"), save(tmp_path / "b", 0.75, cost={"seconds": 9.0}, code=code)
    )
    assert found.reasons == (UNEXPLAINED,)
    assert {row.group for row in found.rows} == {"metrics", "cost", "code and software"}


def test_a_failed_run_has_no_numbers_to_compare(tmp_path: Path) -> None:
    failure = {"kind": "oom", "message": "out of memory"}
    failed = RunRecord(identity=IDENTITY, status="failed", label="vit", failure=failure)
    found = compared(save(tmp_path), Store(tmp_path).save(failed, {}))
    assert "A is complete, B is failed" in found.told and "REPLICATES" not in found.told


def test_cases_are_matched_by_id_and_counted() -> None:
    left = arrays()
    right = {
        "test_id": np.array([5, 8, 9]),
        "test_score": np.array([0.7, 0.5, 0.2], dtype=np.float32),
        "test_label": np.array([1, 1, 0]),
    }
    (case,) = differing_cases(left, right)
    assert (case.ids, case.shared, case.only_a, case.only_b) == ((8,), 2, 1, 1)


def test_arrays_of_another_shape_are_not_compared() -> None:
    right = {**arrays(), "test_score": np.zeros((3, 2), np.float32)}
    (case,) = differing_cases({**arrays(), "test_texts": np.array(["a", "b", "c"])}, right)
    assert set(case.not_comparable) == {"test_score", "test_texts"} and case.ids == ()


def test_missing_predictions_are_said_and_damaged_ones_refused(tmp_path: Path) -> None:
    a = save(tmp_path / "a")
    b = save(tmp_path / "b", scores=SCORES + 1)
    (file,) = b.parent.glob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="predictions have digest"):
        compared(a, b)
    file.unlink()
    assert "predictions are not beside both" in compared(a, b).notes[0]


def test_predictions_of_a_forged_name_are_not_looked_for(tmp_path: Path) -> None:
    record = RunRecord(
        identity=IDENTITY, status="complete", label="x", predictions={"sha256": "../../secret"}
    )
    with pytest.raises(IntegrityError, match="is no digest"):
        Chosen(record=record, path=tmp_path / "r.json").predictions()


def test_runs_are_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    first = save(tmp_path)
    later = save(tmp_path, 0.75, timing={"ended": "2026-11-23T10:00:00+00:00"})
    run = first.parent.name
    chosen = one(run[:6], tmp_path)
    assert (chosen.path, chosen.others) == (first, 1), "the earliest complete one counts"
    assert one(later.stem[:10], tmp_path).path == later
    with pytest.raises(UsageError, match="begins with"):
        one("0123456789abcdef", tmp_path)
    with pytest.raises(UsageError, match="no file, no folder and no run id"):
        one(run[:3], tmp_path)


def test_the_beginning_of_several_ids_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [tmp_path / "runs" / "ab" / ("abcd" + end * 60) / "x.json" for end in "01"]
    monkeypatch.setattr(Store, "paths", lambda self: iter(names))
    with pytest.raises(UsageError, match="beginning of 2 ids: abcd00000000, abcd11111111"):
        one("abcd", tmp_path)


def test_folders_are_compared_cell_by_cell_and_seed_by_seed(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for seed in (0, 1, 2):
        save(a, identity=identity(seed=seed))
    save(b, identity=identity(seed=0))
    save(b, 0.25, identity=identity(seed=1), code={"semantic_sha256": "e" * 64})
    save(b, identity=identity(seed=7))
    save(b, identity=identity(tuning="head"))
    full, head = compare_folders(a, b)
    assert (full.equal, full.differing, full.only_a, full.only_b) == ((0,), (1,), (2,), (7,))
    assert full.largest == ("accuracy", -25.0)
    assert full.reasons == ("other code that numbers pass through: code.semantic_sha256",)
    assert (head.only_b, head.equal) == ((0,), ())


def test_a_seed_asked_otherwise_is_compared_and_explained(tmp_path: Path) -> None:
    save(tmp_path / "a")
    other = {**IDENTITY["encoder"], "weights_sha256": "8" * 64}
    save(tmp_path / "b", 0.75, identity=identity(encoder=other))
    (cell,) = compare_folders(tmp_path / "a", tmp_path / "b")
    assert cell.differing == (0,) and "identity.encoder.weights_sha256" in cell.reasons[0]


def test_an_empty_folder_is_a_setup_error(tmp_path: Path) -> None:
    save(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(SetupError, match="holds no records"):
        compare_folders(tmp_path / "a", tmp_path / "b")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["diff", *map(str, arguments)])


def test_the_command_prints_tables_or_json_and_ends_well(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a"), save(tmp_path / "b", 0.75, SCORES + 1)
    done = command(a, b)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("REPLICATES DIFFER")
    assert "+25" in done.output and "test: 3 of 3 cases differ (ids 3, 5, 8)" in done.output
    said = json.loads(command(a, b, "--json").output)
    assert said["groups"]["metrics"][0]["difference"] == pytest.approx(25.0)
    folders = command(tmp_path / "a", tmp_path / "b")
    assert folders.exit_code == 0 and "accuracy +25" in folders.output
    (cell,) = json.loads(command(tmp_path / "a", tmp_path / "b", "--json").output)
    assert cell["differing"] == [0]


def test_wrong_input_ends_with_its_error(tmp_path: Path) -> None:
    path = save(tmp_path)
    damaged = tmp_path / "damaged.json"
    damaged.write_text(path.read_text().replace('"vit"', '"vat"'))
    for arguments, kind in (
        ((path, tmp_path), UsageError),
        ((path, "zzzz"), UsageError),
        ((path, damaged), IntegrityError),
        ((tmp_path / "nowhere", path), UsageError),
    ):
        assert isinstance(command(*arguments).exception, kind), arguments
