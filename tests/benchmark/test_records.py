from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omnibench.errors import IntegrityError, SetupError
from omnibench.predictions import pack, unpack
from omnibench.records import RunRecord, parse
from omnibench.store import Store

ARRAYS = {
    "test_id": np.arange(4, dtype=np.int64),
    "test_score": np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2),
}


def record(**changes) -> RunRecord:
    values = {
        "identity": {
            "schema": "omnibench.run/1",
            "encoder": {"name": "e"},
            "dataset": {"name": "d", "limit": 0},
            "task": {"name": "t", "plugin": "p", "version": 1, "recipe": "r", "variant": ""},
            "tuning": "frozen",
            "seed": 0,
        },
        "status": "complete",
        "label": "toy",
        "metrics": {"accuracy": {"value": 0.5, "unit": "fraction", "higher_is_better": True}},
        "predictions": Store.prepare(ARRAYS),
        "timing": {"ended": "2026-01-01T00:00:00+00:00"},
    }
    return RunRecord(**{**values, **changes})


def test_a_record_reads_back_equal():
    text = record().to_json().encode()
    assert parse(text, "here") == record()


def test_equal_arrays_give_equal_bytes():
    assert pack(ARRAYS) == pack(dict(reversed(ARRAYS.items())))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.replace(b'"value": 0.5', b'"value": 0.6'), "changed after it was written"),
        (lambda t: t.replace(b'"value": 0.5', b'"value": NaN'), "NaN is not JSON"),
        (lambda t: t.replace(b'"value": 0.5', b'"value": 1e999'), "out of range"),
        (lambda t: t.replace(b'"label": "toy"', b'"label": "a", "label": "toy"'), "twice"),
        (lambda t: t.replace(b"omnibench.run/1", b"omnibench.run/2"), "schema is"),
        (lambda t: t[:-20], "not a strict JSON"),
        (lambda t: b"\xef\xbb\xbf" + t, "not a strict JSON"),
        (lambda t: t.replace(b"toy", b"t\xffy"), "not a strict JSON"),
        (lambda t: b"[" * 5000 + b"]" * 5000, "nested deeper"),
        (lambda t: b'"' + b"x" * (1 << 20) + b'"', "too many"),
        (lambda t: b"[1, 2]", "schema is 'list'"),
    ],
)
def test_a_damaged_record_is_refused_with_one_reason(edit, message):
    with pytest.raises(IntegrityError) as raised:
        parse(edit(record().to_json().encode()), "x.json")
    assert message in str(raised.value) and "x.json" in str(raised.value)


def test_predictions_of_another_digest_are_refused():
    data = pack(ARRAYS)
    described = Store.prepare(ARRAYS)
    assert np.array_equal(unpack(data, described, "x")["test_score"], ARRAYS["test_score"])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    with pytest.raises(IntegrityError, match="predictions have digest"):
        unpack(bytes(flipped), described, "x")


def test_predictions_that_are_objects_or_not_finite_are_never_written():
    with pytest.raises(IntegrityError, match="object array"):
        pack({"a": np.array([{}], dtype=object)})
    with pytest.raises(IntegrityError, match="not finite"):
        pack({"a": np.array([np.nan])})


def test_the_first_writer_wins_and_nothing_is_left_behind(tmp_path: Path):
    store = Store(tmp_path)
    path = store.save(record(), ARRAYS)
    before = path.stat().st_mtime_ns
    assert store.save(record(), ARRAYS) == path
    assert path.stat().st_mtime_ns == before
    names = {p.suffix for p in path.parent.iterdir()}
    assert names == {".json", ".npz"} and len(list(path.parent.iterdir())) == 2
    found = store.find(record().run_id)
    assert found is not None and found[0] == record()


def test_a_failed_record_does_not_count_as_finished(tmp_path: Path):
    store = Store(tmp_path)
    failed = record(status="failed", predictions=None, failure={"kind": "oom", "message": "m"})
    store.save(failed, {})
    assert store.find(failed.run_id) is None
    store.save(record(), ARRAYS)
    assert store.find(failed.run_id) is not None


def test_of_two_complete_records_the_earlier_is_used(tmp_path: Path):
    store = Store(tmp_path)
    later = record(timing={"ended": "2026-01-02T00:00:00+00:00"})
    store.save(later, ARRAYS)
    store.save(record(), ARRAYS)
    found = store.find(later.run_id)
    assert found is not None and found[0].timing["ended"].startswith("2026-01-01")


def test_a_renamed_or_moved_record_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    path = store.save(record(), ARRAYS)
    moved = path.with_name("0" * 64 + ".json")
    path.rename(moved)
    with pytest.raises(IntegrityError, match="name does not belong"):
        store.read(moved)


def test_missing_predictions_make_a_complete_record_an_error(tmp_path: Path):
    store = Store(tmp_path)
    path = store.save(record(), ARRAYS)
    next(path.parent.glob("*.npz")).unlink()
    with pytest.raises(IntegrityError, match="are missing"):
        store.find(record().run_id)


def test_an_unwritable_results_folder_is_found_before_anything_runs(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SetupError, match="--results DIR"):
        Store(file / "results").require_writable()


def test_numbers_as_text_do_not_enter_identities():
    text = json.loads(record().to_json())
    assert isinstance(text["identity"]["seed"], int)
