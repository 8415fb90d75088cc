"""Records that are not what they seem: JSON attacks (statistics.md, section 5, rows 11 and 12)."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_records import arrays, record, restated

from omnibench.errors import IntegrityError, OmnibenchError
from omnibench.records import LaterRecord, parse, require_readable
from omnibench.registry import Registry
from omnibench.rescoring import rescore
from omnibench.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
WHOLE = record().to_json().encode()
MUTATIONS = 2000


def body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WHOLE)
    return found


def swap(old: str, new: str) -> Callable[[], bytes]:
    """Return the record with a piece of its text replaced, under its old digest."""

    def attack() -> bytes:
        changed = WHOLE.replace(old.encode(), new.encode())
        assert changed != WHOLE
        return changed

    return attack


def forge(path: str, value: Any) -> Callable[[], bytes]:
    """Return the record with a field replaced, under the digest of its new content."""

    def attack() -> bytes:
        found = body()
        *parents, last = path.split("/")
        place = found
        for name in parents:
            place = place[name]
        place[last] = value
        return restated(found)

    return attack


VALUE = '"value": 0.5'
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    # what Python's parser would take
    "NaN": (swap(VALUE, '"value": NaN'), "NaN is not JSON"),
    "Infinity": (swap(VALUE, '"value": Infinity'), "Infinity is not JSON"),
    "minus Infinity": (swap(VALUE, '"value": -Infinity'), "-Infinity is not JSON"),
    "overflow": (swap(VALUE, '"value": 1e999'), "out of range"),
    "duplicate key": (swap('"label": "vit-a"', '"label": "a", "label": "vit-a"'), "twice"),
    "duplicate key by escape": (
        swap('"label": "vit-a"', r'"lab\u0065l": "a", "label": "vit-a"'),
        "twice",
    ),
    "lone surrogate": (swap('"label": "vit-a"', r'"label": "\ud800"'), "surrogates not allowed"),
    "5,000-digit integer": (swap('"seed": 0', '"seed": ' + "7" * 5000), "out of range"),
    "integer beyond 64 bits": (swap('"seed": 0', f'"seed": {2**63}'), "out of range"),
    "negative beyond 64 bits": (swap('"seed": 0', f'"seed": -{2**64}'), "out of range"),
    "depth": (lambda: b"[" * 100_000 + b"]" * 100_000, "nested deeper than 20"),
    "depth of one too many": (swap('"failure": null', '"failure": ' + "[" * 20 + "]" * 20), "deep"),
    # what is no JSON in UTF-8 at all
    "BOM": (lambda: b"\xef\xbb\xbf" + WHOLE, "BOM"),
    "Latin-1": (lambda: record(label="naïve").to_json().encode("latin-1", "replace"), "utf-8"),
    "UTF-16": (lambda: WHOLE.decode().encode("utf-16"), "utf-8"),
    "empty": (lambda: b"", "not a strict JSON record"),
    "binary": (lambda: bytes(range(256)), "not a strict JSON record"),
    "NUL": (lambda: WHOLE + b"\0", "not a strict JSON record"),
    "two documents": (lambda: WHOLE + WHOLE, "not a strict JSON record"),
    "comment": (lambda: b"// a record\n" + WHOLE, "not a strict JSON record"),
    "trailing comma": (lambda: WHOLE.rstrip()[:-1] + b",}", "not a strict JSON record"),
    "single quotes": (lambda: WHOLE.replace(b'"', b"'"), "not a strict JSON record"),
    "truncated": (lambda: WHOLE[: len(WHOLE) // 2], "not a strict JSON record"),
    "more than a megabyte": (lambda: WHOLE + b" " * (1 << 20), "too many for a record"),
    # other documents
    "list": (lambda: b"[1, 2]", "schema is 'list'"),
    "number": (lambda: b"1", "schema is 'int'"),
    "no schema": (lambda: b"{}", "schema is None"),
    "later major": (swap("omnibench.run/1", "omnibench.run/2"), "pip install --upgrade omnibench"),
    "schema of no number": (forge("schema", {"omnibench.run": 1}), "was expected"),
    "other scheme of ids": (forge("id_scheme", 2), "another scheme"),
    "edited value": (swap(VALUE, '"value": 0.6'), "changed after it was written"),
    # wrong types under a digest that is right
    "number as text": (
        forge("metrics/accuracy/value", "0.5"),
        "metrics.accuracy.value has another",
    ),
    "truth as number": (
        forge("metrics/accuracy/value", True),
        "metrics.accuracy.value has another",
    ),
    "metric without unit": (
        forge("metrics/accuracy", {"value": 0.5}),
        "lacks metrics.accuracy.unit",
    ),
    "metrics as list": (forge("metrics", []), "metrics has another type"),
    "seed as text": (forge("identity/seed", "0"), "identity.seed has another type"),
    "seed as float": (forge("identity/seed", 0.0), "identity.seed has another type"),
    "float in the identity": (forge("identity/more", 0.5), "identity.more has another type"),
    "no encoder": (forge("identity/encoder", {}), "lacks identity.encoder.name"),
    "unknown status": (forge("status", "finished"), "status has another type or value"),
    "label as null": (forge("label", None), "label has another type"),
    "unknown field": (forge("evidence", 2), "not the fields of a record"),
    "identity under its old run id": (forge("identity/seed", 7), "run id does not belong"),
    "complete without predictions": (forge("predictions", None), "without predictions"),
    "path as digest": (forge("predictions/sha256", "../../etc/passwd"), "predictions.sha256 has"),
    "negative length": (forge("predictions/arrays/test_id", ["<i8", [-1]]), "arrays.test_id has"),
    "shape as text": (forge("predictions/arrays/test_id", ["<i8", "6"]), "arrays.test_id has"),
    "timing as list": (forge("timing", ["2026"]), "timing has another type"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_one_line(name: str) -> None:
    attack, message = ATTACKS[name]
    with pytest.raises(IntegrityError) as raised:
        parse(attack(), "x.json")
    told = str(raised.value)
    assert told.startswith("x.json: ") and message in told and "\n" not in told and len(told) < 400


def test_there_are_at_least_thirty_attacks() -> None:
    assert len(ATTACKS) >= 30


# ---- two thousand mutations of a valid record --------------------------------------------

PIECES = [
    *(b"NaN", b"Infinity", b"-", b"1e999", b"1e-999", b"0", b"00", b"9" * 30, b"0.1", b"\0"),
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", rb"\u0000", rb"\ud834", b"null", b"true"),
    *(b" ", b"\n", b"\xff", b"\xef\xbb\xbf", "é".encode(), b"1", b"E5", b"//", b"/* */", b"+"),
]


def mutated(drawn: random.Random) -> bytes:
    """Return the record's bytes after one to three random edits."""
    data = bytearray(WHOLE)
    for _ in range(drawn.randint(1, 3)):
        place = drawn.randrange(len(data))
        length = drawn.choice([0, 1, 1, 2, 8, 100])
        kind = drawn.randrange(5)
        if kind == 0:
            data[place] ^= 1 << drawn.randrange(8)
        elif kind == 1:
            del data[place : place + max(1, length)]
        elif kind == 2:
            data[place : place + length] = drawn.choice(PIECES)
        elif kind == 3:
            data[place:place] = data[drawn.randrange(len(data)) :][:length]
        else:
            data[place] = ord(drawn.choice(string.printable))
    return bytes(data)


def test_a_mutated_record_is_refused_or_the_same_record() -> None:
    """Never another number, never another error; white space and ways of escaping may differ."""
    drawn, equal = random.Random(0), 0
    for number in range(MUTATIONS):
        data = mutated(drawn)
        try:
            found = parse(data, "x")
        except IntegrityError:
            continue
        assert found == record() and found.to_json() == record().to_json(), number
        equal += 1
    assert 0 < equal < MUTATIONS / 4


# ---- every field replaced by every type, under a digest that is right ---------------------

ODDITIES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63 - 1, 0.5, -0.0, 1e308, "", "x", "../x", "\x00", [], {}, [[]]),
    *({"": None}, [None], {"x": {"x": 1}}, "omnibench.run/1", "9" * 64),
)


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a document."""
    inside = found.items() if isinstance(found, dict) else enumerate(found)
    for name, value in inside:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))


def oddly_typed() -> Iterator[tuple[str, bytes]]:
    for path in places(body()):
        for odd in ODDITIES:
            found = body()
            place = found
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = copy.deepcopy(odd)
            yield f"{path} = {odd!r}", restated(found)


def test_what_passes_the_door_has_the_types_that_readers_rely_on(tmp_path: Path) -> None:
    tried = 0
    for name, data in oddly_typed():
        tried += 1
        try:
            found = parse(data, "x")
        except IntegrityError:
            continue
        assert parse(found.to_json().encode(), "x") == found, name
        assert found.run_id == json.loads(data)["run_id"] and isinstance(found.seed, int), name
        with contextlib.suppress(OmnibenchError):
            Store(tmp_path).predictions(found)
    assert tried > 1000


# ---- what a task hands in ----------------------------------------------------------------


@pytest.mark.parametrize(
    "details",
    [
        {"loss": float("nan")},
        {"loss": object()},
        {"text": "\ud800"},
        {(1, 2): "key"},
        {1: "one", "1": "one"},
        {"steps": 2**63},
        {"deep": json.loads("[" * 30 + "]" * 30)},
        {"deeper": json.loads("[" * 900 + "]" * 900)},
        {"losses": [0.123456789] * 100_000},
    ],
)
def test_a_record_that_could_not_be_read_again_is_found_before_it_is_written(
    details: dict[str, Any],
) -> None:
    require_readable(record())
    with pytest.raises(IntegrityError):
        require_readable(record(details=details))


# ---- frozen records (row 12): one for each schema that there has been ---------------------


def test_a_record_of_schema_1_reads_as_it_always_has() -> None:
    store = Store(FIXTURES / "schema_1")
    (path,) = store.paths()
    assert path.parent.name == "7befbe6da3d59d39c1d7ad749e3eca619f9235024c73969fa3bf21f986160e16"
    assert path.stem == "b8ce633869547889a0647bcc1755d77bf3076e9cfd1b08ec4f33d36f8f480bee"
    found = store.find(path.parent.name)
    assert found is not None
    kept, _ = found
    assert (kept.run_id, kept.record_sha256) == (path.parent.name, path.stem)
    assert kept.to_json() == path.read_text()
    assert (kept.status, kept.label, kept.seed) == ("complete", "timm-test_vit+random", 0)
    values = {name: metric["value"] for name, metric in kept.metrics.items()}
    assert values == {
        "accuracy": 0.65,
        "auc_ovr_macro": 0.8963611111111112,
        "balanced_accuracy": 0.6888888888888888,
        "f1_macro": 0.5551709401709402,
        "f1_of_macro_pr": 0.719390105977464,
    }
    found_arrays = store.predictions(kept)
    assert found_arrays["test_score"].shape == (40, 3) and found_arrays["test_label"].sum() == 34
    assert (
        hashlib.sha256(found_arrays["test_score"].tobytes())
        .hexdigest()
        .startswith("c0cb97484b395254")
    )


def test_its_numbers_are_still_found_in_its_predictions() -> None:
    import omnibench_plugins.tasks

    registry = Registry.of(omnibench_plugins.tasks)
    (line,) = rescore(FIXTURES / "schema_1", registry)
    assert (line.verdict, line.exit_code) == ("10 metrics equal", 0)


def test_a_later_schema_is_left_where_it_is(tmp_path: Path) -> None:
    """Whoever moved it away, as is said of damaged ones, would lose a finished run."""
    path = Store(tmp_path).save(record(), arrays())
    path.write_bytes(path.read_bytes().replace(b"omnibench.run/1", b"omnibench.run/7"))
    with pytest.raises(LaterRecord) as raised:
        Store(tmp_path).find(record().run_id)
    assert "pip install --upgrade omnibench" in str(raised.value) and raised.value.exit_code == 4
    assert "Move the file away" not in str(raised.value)
