"""Verifying: the twenty ways of tampering (statistics.md, section 5, rows 26 and 27)."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from omnibench.errors import IntegrityError
from omnibench.recipe import digest
from omnibench.records import parse
from omnibench.store import Store
from omnibench_leaderboard.manifest import MANIFEST, seal
from omnibench_leaderboard.verify import verify


@pytest.fixture
def three(results, add):
    """Three seeds of one encoder; returns their records' paths."""
    made = [add("vit-a", seed) for seed in range(3)]
    return [Store(results).folder(r.run_id) / f"{r.record_sha256}.json" for r in made]


def forge(path: Path, edit) -> Path:
    """Change a record and give it the digest and the name of its new content."""
    body = json.loads(path.read_text())
    edit(body)
    del body["record_sha256"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    body["record_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.unlink()
    forged = path.with_name(f"{body['record_sha256']}.json")
    forged.write_text(json.dumps(body))
    return forged


def test_untouched_records_are_verified(results, three, tasks):
    verdict = verify([results], tasks)
    assert verdict.exit_code == 0 and verdict.problems == ()
    assert verdict.summary.startswith("3 records verified, 0 problems")


def test_an_edited_value_is_found(results, three, tasks):
    path = three[0]
    path.write_text(path.read_text().replace('"status": "complete"', '"status": "failed"'))
    (problem,) = verify([results], tasks).problems
    assert path.name == problem.what and "changed after it was written" in problem.reason


@pytest.mark.parametrize("metric", ["accuracy", "auc", "f1_macro"])
@pytest.mark.parametrize("step", [0.01, 1e-6, -0.2])
def test_a_forged_metric_with_a_right_digest_is_found(results, three, tasks, metric, step):
    def better(body):
        body["metrics"][metric]["value"] += step

    forged = forge(three[1], better)
    verdict = verify([results], tasks)
    (problem,) = verdict.problems
    assert problem.path.endswith(forged.name) and f"test {metric}" in problem.reason
    assert verdict.exit_code == 4


def test_an_accuracy_off_the_lattice_is_found(results, three, tasks):
    forge(three[0], lambda body: body["metrics"]["accuracy"].update(value=0.9551))
    (problem,) = verify([results], tasks).problems
    assert "accuracy: the record states 0.955100000" in problem.reason


def test_an_invented_metric_is_found(results, three, tasks):
    extra = {"value": 0.99, "unit": "fraction", "higher_is_better": True}
    forge(three[0], lambda body: body["metrics"].update(better=extra))
    (problem,) = verify([results], tasks).problems
    assert "stored and recomputed metrics differ in better" in problem.reason


def test_a_forged_evidence_level_is_no_field_of_a_record(results, three, tasks):
    forge(three[0], lambda body: body.update(evidence=2))
    (problem,) = verify([results], tasks).problems
    assert "not the fields of a record" in problem.reason


def test_swapped_predictions_are_found(results, three, tasks):
    files = [next(path.parent.glob("*.npz")) for path in three[:2]]
    one, two = (file.read_bytes() for file in files)
    files[0].write_bytes(two), files[1].write_bytes(one)
    verdict = verify([results], tasks)
    assert len(verdict.problems) == 2 and verdict.exit_code == 4
    assert all("predictions have digest" in item.reason for item in verdict.problems)


def test_deleted_predictions_are_found(results, three, tasks):
    next(three[0].parent.glob("*.npz")).unlink()
    (problem,) = verify([results], tasks).problems
    assert "predictions of a complete record are missing" in problem.reason


def test_predictions_of_another_seed_under_a_forged_record_are_found(results, three, tasks):
    other = parse(three[0].read_bytes(), "x")

    def copy(body):
        body["predictions"], body["metrics"] = dict(other.predictions), dict(other.metrics)
        body["validation"] = dict(other.validation)

    forged = forge(three[1], copy)
    source = next(three[0].parent.glob("*.npz"))
    (forged.parent / source.name).write_bytes(source.read_bytes())
    (problem,) = verify([results], tasks).problems
    assert problem.kind == "copied" and "seed 0" in problem.reason


def test_a_record_under_another_run_id_is_found(results, three, tasks):
    forge(three[0], lambda body: body.update(run_id="0" * 64))
    (problem,) = verify([results], tasks).problems
    assert "run id does not belong" in problem.reason


def test_a_record_moved_to_another_folder_is_found(results, three, tasks):
    elsewhere = results / "runs/00" / ("0" * 64)
    elsewhere.mkdir(parents=True)
    three[0].rename(elsewhere / three[0].name)
    (problem,) = verify([results], tasks).problems
    assert "name does not belong to its content" in problem.reason


def test_a_task_that_is_not_installed_is_said(results, three, tasks):
    def rename(body):
        body["identity"]["task"]["plugin"] = "unheard-of"
        body["run_id"] = digest(body["identity"])

    forged = forge(three[0], rename)
    run_id = json.loads(forged.read_text())["run_id"]
    target = results / "runs" / run_id[:2] / run_id
    target.parent.mkdir(exist_ok=True)
    forged.parent.rename(target)
    (problem,) = verify([results], tasks).problems
    assert "there is no task 'unheard-of/cls'" in problem.reason and problem.exit_code == 2


def test_a_sealed_folder_shows_what_was_deleted_added_and_changed(results, three, add, tasks):
    seal(results)
    assert verify([results], tasks).problems == ()
    three[0].unlink()
    new = add("vit-b", 0)
    npz = next(three[1].parent.glob("*.npz"))
    npz.write_bytes(npz.read_bytes() + b" ")
    problems = {
        p.path: p.reason for p in verify([results], tasks).problems if "MANIFEST" in p.reason
    }
    told = {Path(path).name: reason for path, reason in problems.items()}
    assert "lists it and it is not there" in told[three[0].name]
    assert "added after" in told[f"{new.record_sha256}.json"]
    assert "not the file that MANIFEST.json lists" in told[npz.name]


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body["files"].popitem(),
        lambda body: body.update(files=dict(reversed(body["files"].items()))),
        lambda body: body.update(root_sha256="0" * 64),
        lambda body: body.update(schema="omnibench.manifest/9"),
        lambda body: body.update(files=list(body["files"])),
        lambda body: body.clear(),
    ],
)
def test_a_changed_manifest_is_found(results, three, tasks, edit):
    path = seal(results)
    body = json.loads(path.read_text())
    edit(body)
    path.write_text(json.dumps(body))
    with pytest.raises(IntegrityError, match="the manifest was changed"):
        verify([results], tasks)


def test_sealing_twice_gives_equal_bytes(results, three):
    first = seal(results).read_bytes()
    assert seal(results).read_bytes() == first and (results / MANIFEST).is_file()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omnibench", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_json_and_ends_with_the_exit_code(results, three):
    good = command(results, "--json")
    told = json.loads(good.stdout)
    assert good.returncode == 0 and told["exit_code"] == 0 and len(told["verified"]) == 3
    sealed = command(results, "--seal")
    assert sealed.returncode == 0 and (results / MANIFEST).is_file()
    three[0].unlink()
    bad = command(results)
    assert bad.returncode == 4 and three[0].name in bad.stdout
    assert command(results, "--seal").returncode == 0


def test_an_empty_folder_ends_with_a_message(tmp_path):
    done = command(tmp_path)
    assert done.returncode == 5 and "holds no records" in done.stderr and "Trace" not in done.stderr
