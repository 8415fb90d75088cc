"""One run's outcome: schema, digests, strict reading. Needs numpy, never torch.

A record is one JSON file and one file of predictions. `run_id` says what was asked (a digest
of the identity), `record_sha256` what was found (a digest of everything else).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omnibench.errors import IntegrityError
from omnibench.recipe import digest

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "omnibench.run/1"
ID_SCHEME = 1
MAX_JSON_BYTES = 1 << 20
MAX_JSON_DEPTH = 20
MAX_PREDICTION_BYTES = 4 << 30

# What reading a forged or damaged archive may raise.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
)

Status = Literal["complete", "failed", "interrupted"]
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


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

    def to_json(self) -> str:
        """Return the record as JSON text that ends with its own digest."""
        body = {"schema": SCHEMA, "id_scheme": ID_SCHEME, "run_id": self.run_id, **asdict(self)}
        body["record_sha256"] = _body_digest(body)
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @property
    def record_sha256(self) -> str:
        """Digest of the record without this field."""
        return str(json.loads(self.to_json())["record_sha256"])


def parse(text: bytes, where: str) -> RunRecord:
    """Read a record strictly.

    Args:
        text: The file's bytes.
        where: How messages name the file.

    Raises:
        IntegrityError: If it is not a record of this schema, or its digests do not agree.
    """
    body = _strict_json(text, where)
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        found = body.get("schema") if isinstance(body, dict) else type(body).__name__
        raise IntegrityError(f"{where}: schema is {found!r}, {SCHEMA!r} was expected")
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
    if record.status not in ("complete", "failed", "interrupted"):
        raise IntegrityError(f"{where}: unknown status {record.status!r}")
    _require_shape(record, where)
    if record.run_id != run_id:
        raise IntegrityError(f"{where}: its run id does not belong to its identity")
    if record.status == "complete" and not record.predictions:
        raise IntegrityError(f"{where}: a complete record without predictions")
    return record


def _require_shape(record: RunRecord, where: str) -> None:
    """Raise unless what readers take for granted is there, of the right type."""
    identity: Any = record.identity
    try:
        parts = {name: identity[name] for name in ("encoder", "dataset", "task")}
        texts = [parts[name]["name"] for name in parts] + [
            parts["task"]["recipe"],
            parts["task"]["plugin"],
            parts["task"]["variant"],
            identity["tuning"],
            record.label,
        ]
        numbers = [identity["seed"], parts["task"]["version"], parts["dataset"]["limit"]]
        values = [m["value"] for part in (record.metrics, record.validation) for m in part.values()]
        mappings = [record.predictions["arrays"]] if record.predictions else []
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{where}: the record lacks {error}") from None
    if not (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int for number in numbers)
        and all(type(value) in (int, float) for value in values)
        and all(isinstance(mapping, dict) for mapping in mappings)
    ):
        raise IntegrityError(f"{where}: a field of the record has another type than it should")


def pack(arrays: Arrays) -> bytes:
    """Return arrays as the bytes of a compressed npz; equal arrays give equal bytes."""
    import numpy as np

    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise IntegrityError(f"predictions {name!r} are an object array")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise IntegrityError(f"predictions {name!r} hold values that are not finite")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(sorted(arrays.items())))
    return buffer.getvalue()


def describe_predictions(data: bytes, arrays: Arrays) -> dict[str, Any]:
    """Return what a record says about its predictions file."""
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "arrays": {n: [a.dtype.str, list(a.shape)] for n, a in sorted(arrays.items())},
    }


def unpack(data: bytes, described: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read predictions strictly: digest first, then names, sizes, dtypes and shapes.

    Raises:
        IntegrityError: If the file is not the one that the record describes.
    """
    import numpy as np

    found = hashlib.sha256(data).hexdigest()
    if found != described.get("sha256"):
        raise IntegrityError(
            f"{where}: predictions have digest {found[:12]}…, the record states "
            f"{str(described.get('sha256'))[:12]}…"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {item.filename: item.file_size for item in archive.infolist()}
        expected = {f"{name}.npy" for name in described["arrays"]}
        if set(members) != expected:
            raise IntegrityError(f"{where}: predictions hold other arrays than the record states")
        if sum(members.values()) > MAX_PREDICTION_BYTES:
            raise IntegrityError(f"{where}: predictions would unpack to {sum(members.values())} B")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in described["arrays"]}
    except DAMAGE as error:
        raise IntegrityError(f"{where}: predictions cannot be read ({error})") from None
    for name, (dtype, shape) in described["arrays"].items():
        if arrays[name].dtype.str != dtype or list(arrays[name].shape) != shape:
            raise IntegrityError(f"{where}: predictions {name!r} have another type or shape")
    return arrays


def _body_digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(
        {k: v for k, v in body.items() if k != "record_sha256"},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _strict_json(text: bytes, where: str) -> Any:
    """Parse JSON without Python's leniency: no NaN, no duplicate keys, bounded size and depth."""
    if len(text) > MAX_JSON_BYTES:
        raise IntegrityError(f"{where}: {len(text)} bytes are too many for a record")

    def refuse(literal: str) -> Any:
        raise ValueError(f"{literal} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            raise ValueError("a key stands twice")
        return out

    def bounded_float(literal: str) -> float:
        value = float(literal)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{literal} is out of range")
        return value

    try:
        decoded = text.decode("utf-8")
        if _depth(decoded) > MAX_JSON_DEPTH:
            raise ValueError(f"nested deeper than {MAX_JSON_DEPTH}")
        return json.loads(
            decoded,
            parse_constant=refuse,
            parse_float=bounded_float,
            object_pairs_hook=unique,
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not a strict JSON record ({error})") from None


def _depth(text: str) -> int:
    """Return the deepest bracket nesting, counting none inside strings."""
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted, escaped = True, False
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest
