"""One run's outcome: schema, digests, strict reading. Needs numpy, never torch.

A record is one JSON file and one file of predictions. `run_id` says what was asked (a digest
of the identity), `record_sha256` what was found (a digest of everything else).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omnibench import strict_json
from omnibench.errors import IntegrityError
from omnibench.recipe import digest

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "omnibench.run/1"
ID_SCHEME = 1
SHA256 = re.compile(r"[0-9a-f]{64}")

Status = Literal["complete", "failed", "interrupted"]
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class LaterRecord(IntegrityError):
    """A record of a schema that this version does not know yet."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run: what was asked, what was found, and how it was made.

    Args:
        identity: Strings and integers only, so that its canonical JSON is unambiguous.
        status: Only `complete` records carry metrics and count as finished.
        label: How tables show the encoder.
        metrics: Metric id to value, unit and direction, on the test split.
        validation: The same on the validation split.
        predictions: File digest, and dtype and shape of every array; None if failed.
        weights: Digest and size of what was trained, where it was kept.
        recipe: The whole recipe as strings; its digest is in the identity.
        changes: Fields that differ from the recipe of that name (`--set`).
        dataset: Facts of the dataset: source size, licence, class names, unverified.
        encoder: Facts of the encoder: origin, licence, revision.
        details: What the task reports: chosen epoch, losses, flags.
        environment: Versions, device, threads.
        code: Commit, dirty flag, digest of the source that can change a number.
        timing: Seconds and UTC times.
        cost: Parameters, FLOPs, memory.
        failure: Kind and message of a failed run.
    """

    identity: Mapping[str, Any]
    status: Status
    label: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Any] | None = None
    weights: Mapping[str, Any] | None = None
    recipe: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    failure: Mapping[str, Any] | None = None

    @property
    def run_id(self) -> str:
        """Digest of the identity."""
        return digest(self.identity)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.identity["seed"])

    @property
    def software(self) -> dict[str, str]:
        """Digests of the code and the packages that made it; runs of others are not pooled."""
        return {
            "code": str(self.code.get("semantic_sha256", "")),
            "packages": str(self.environment.get("packages_sha256", "")),
        }

    def to_json(self) -> str:
        """Return the record as JSON text that ends with its own digest.

        Raises:
            IntegrityError: If what a task or plugin put into it is not plain, finite JSON data.
        """
        head = {"schema": SCHEMA, "id_scheme": ID_SCHEME}
        try:
            body = {**head, "run_id": self.run_id, **asdict(self)}
            body["record_sha256"] = _body_digest(body)
            return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise IntegrityError(f"a record holds plain, finite JSON data only ({error})") from None

    @property
    def record_sha256(self) -> str:
        """Digest of the record without this field."""
        return str(json.loads(self.to_json())["record_sha256"])


def require_readable(record: RunRecord) -> None:
    """Raise unless what would be written can be read again, so that no finished run is lost.

    Raises:
        IntegrityError: If it holds what a record cannot, such as NaN, or is too large.
    """
    parse(record.to_json().encode(), "the record of this run")


def parse(text: bytes, where: str) -> RunRecord:
    """Read a record strictly.

    Args:
        text: The file's bytes.
        where: How messages name the file.

    Raises:
        LaterRecord: If it is of a schema to come.
        IntegrityError: If it is no record, or its digests do not agree.
    """
    body = strict_json.loads(text, where)
    _require_schema(body, where)
    stated, computed = body.pop("record_sha256", None), _body_digest(body)
    if stated != computed:
        raise IntegrityError(
            f"{where}: its content has digest {computed[:12]}…, it states {str(stated)[:12]}…: "
            "the record was changed after it was written"
        )
    run_id = body.pop("run_id", None)
    del body["schema"]
    if body.pop("id_scheme", None) != ID_SCHEME:
        raise IntegrityError(f"{where}: its identity follows another scheme than {ID_SCHEME}")
    try:
        record = RunRecord(**body)
    except TypeError as error:
        raise IntegrityError(f"{where}: not the fields of a record ({error})") from None
    _require_types(body, where)
    if record.run_id != run_id:
        raise IntegrityError(f"{where}: its run id does not belong to its identity")
    if record.status == "complete" and record.predictions is None:
        raise IntegrityError(f"{where}: a complete record without predictions")
    return record


def _require_schema(body: Any, where: str) -> None:
    """Raise unless it is a record that this version reads."""
    found = body.get("schema") if isinstance(body, dict) else type(body).__name__
    if found == SCHEMA:
        return
    name, _, version = SCHEMA.partition("/")
    newer = re.fullmatch(rf"{re.escape(name)}/([0-9]{{1,6}})", str(found))
    if newer and int(newer[1]) > int(version):
        raise LaterRecord(
            f"{where}: schema is {found!r}, of a later omnibench; this one reads {SCHEMA!r}: "
            "pip install --upgrade omnibench"
        )
    raise IntegrityError(f"{where}: schema is {found!r:.80}, {SCHEMA!r} was expected")


# What readers take for granted, whatever else a field holds.
TEXTS = ("status", "label")
OPTIONAL = ("predictions", "weights", "failure")
METRIC = {"value": (int, float), "unit": str, "higher_is_better": bool}
IDENTITY = {
    "encoder": {"name": str},
    "dataset": {"name": str, "limit": int},
    "task": {"name": str, "plugin": str, "version": int, "recipe": str, "variant": str},
    "tuning": str,
    "seed": int,
}


def _require_types(body: Mapping[str, Any], where: str) -> None:
    """Raise unless every field has the type that it should, naming the first that has not."""
    for name, value in body.items():
        empty = value is None and name in OPTIONAL
        _require(isinstance(value, str if name in TEXTS else dict) or empty, name, where)
    _require(body["status"] in ("complete", "failed", "interrupted"), "status", where)
    _require_fit(body["identity"], IDENTITY, "identity", where)
    _require_plain(body["identity"], "identity", where)
    for name in ("metrics", "validation"):
        for metric, told in body.get(name, {}).items():
            _require_fit(told, METRIC, f"{name}.{metric}", where)
    for name in ("recipe", "changes"):
        _require(all(isinstance(v, str) for v in body.get(name, {}).values()), name, where)
    cost, facts = body.get("cost", {}), body.get("dataset", {}).get("facts", {})
    flags = body.get("details", {}).get("flags", [])
    _require(isinstance(facts, dict), "dataset.facts", where)
    _require(isinstance(flags, list) and all(isinstance(f, str) for f in flags), "flags", where)
    for name, value in cost.items():
        if value is not None or name in ("seconds", "peak_memory_bytes"):
            number = type(value) in (int, float) and 0 <= value <= strict_json.MAX_INTEGER
            _require(number, f"cost.{name}", where)
    if body.get("predictions") is not None:
        _require_description(body["predictions"], where)


def _require_description(told: Mapping[str, Any], where: str) -> None:
    _require_fit(told, {"sha256": str, "bytes": int, "arrays": dict}, "predictions", where)
    _require(SHA256.fullmatch(told["sha256"]) is not None, "predictions.sha256", where)
    for name, array in told["arrays"].items():
        path = f"predictions.arrays.{name}"
        _require(isinstance(array, list) and len(array) == 2, path, where)
        dtype, shape = array
        _require(isinstance(dtype, str) and isinstance(shape, list), path, where)
        _require(all(type(length) is int and length >= 0 for length in shape), path, where)


def _require_fit(found: Any, expected: Any, path: str, where: str) -> None:
    """Compare with a type, types, or a mapping of them; bool is no int."""
    if not isinstance(expected, Mapping):
        kinds = expected if isinstance(expected, tuple) else (expected,)
        _require(type(found) in kinds, path, where)
        return
    _require(isinstance(found, dict), path, where)
    for name, kind in expected.items():
        if name not in found:
            raise IntegrityError(f"{where}: the record lacks {path}.{name}")
        _require_fit(found[name], kind, f"{path}.{name}", where)


def _require_plain(found: Any, path: str, where: str) -> None:
    """Raise unless there is nothing but texts and integers: only they have one way of writing."""
    for name, value in found.items():
        if isinstance(value, dict):
            _require_plain(value, f"{path}.{name}", where)
        else:
            _require(type(value) in (str, int), f"{path}.{name}", where)


def _require(condition: bool, path: str, where: str) -> None:
    if not condition:
        raise IntegrityError(f"{where}: {path[:80]} has another type or value than a record's")


def _body_digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(
        {k: v for k, v in body.items() if k != "record_sha256"},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()
