"""Two records, field by field, in the groups that people ask about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from omnibench.records import RunRecord

Path = tuple[str, ...]

ABSENT = ""
# The longest beginning of a field's path says which group it is in.
GROUPS: Mapping[Path, str] = {
    ("identity",): "identity",
    ("identity", "dataset"): "data",
    ("recipe",): "identity",
    ("changes",): "identity",
    ("label",): "identity",
    ("encoder",): "identity",
    ("encoder", "plugin_version"): "code and software",
    ("code",): "code and software",
    ("environment",): "environment",
    ("environment", "python"): "code and software",
    ("environment", "packages"): "code and software",
    ("environment", "packages_sha256"): "code and software",
    ("dataset",): "data",
    ("metrics",): "metrics",
    ("validation",): "metrics",
    ("predictions",): "predictions",
    ("weights",): "predictions",
    ("details",): "training",
    ("cost",): "cost",
    ("timing",): "cost",
    ("status",): "outcome",
    ("failure",): "outcome",
}
ORDER = tuple(dict.fromkeys(GROUPS.values()))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One field in which A and B differ.

    Args:
        path: Where it stands in the record.
        a: Its value in A as text, empty if absent.
        b: Likewise in B.
        difference: B minus A: points for fractions, else the unit itself; None if no metric.
    """

    path: Path
    a: str
    b: str
    difference: float | None = None

    @property
    def group(self) -> str:
        """Where the field belongs."""
        return next(
            GROUPS[self.path[:n]] for n in range(len(self.path), 0, -1) if self.path[:n] in GROUPS
        )

    @property
    def name(self) -> str:
        """The path as people read it."""
        return ".".join(self.path)


def differing(a: RunRecord, b: RunRecord) -> list[Row]:
    """Return every field whose values differ, group by group."""
    left, right = dict(_flat(asdict(a))), dict(_flat(asdict(b)))
    rows = [
        Row(
            path=path,
            a=_text(left.get(path, ABSENT)),
            b=_text(right.get(path, ABSENT)),
            difference=_points(path, left, right),
        )
        for path in {**left, **right}
        if left.get(path, ABSENT) != right.get(path, ABSENT)
    ]
    return sorted(rows, key=lambda row: ORDER.index(row.group))


def _flat(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of nested mappings with their paths; what is empty has none."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))
    elif value is not None:
        yield path, value


def _points(path: Path, left: Mapping[Path, Any], right: Mapping[Path, Any]) -> float | None:
    if path[0] not in ("metrics", "validation") or path[-1] != "value":
        return None
    if path not in left or path not in right:
        return None
    scale = 100.0 if left.get((*path[:-1], "unit")) == "fraction" else 1.0
    return scale * (float(right[path]) - float(left[path]))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
