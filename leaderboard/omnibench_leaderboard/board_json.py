"""A board as JSON and back: equal boards give equal bytes.

What the metrics of a setting share (`SHARED`) is written once, in the list `runs`; a cell's `runs` says
where in that list.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

from omnibench.errors import IntegrityError
from omnibench_leaderboard.board import SCHEMA, Board

SHARED = ("records", "command", "cost")


def to_json(board: Board) -> str:
    """Return a board as JSON text."""
    body = {"schema": SCHEMA, **dataclasses.asdict(board)}
    places: dict[str, int] = {}
    runs: list[dict[str, Any]] = []
    for cell in (cell for column in body["columns"] for cell in column["cells"]):
        shared = {name: cell.pop(name) for name in SHARED}
        cell["runs"] = places.setdefault(repr(shared), len(runs))
        if cell["runs"] == len(runs):
            runs.append(shared)
    body["runs"] = runs
    text = json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text + "\n"


def from_json(text: str) -> Board:
    """Read a board.

    Raises:
        IntegrityError: If it is not a board of this schema.
    """
    try:
        body = json.loads(text)
        if body.pop("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        runs = body.pop("runs")
        for cell in (cell for column in body["columns"] for cell in column["cells"]):
            cell.update(runs[cell.pop("runs")])
        board: Board = decoded(body, Board)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"not a board ({error}); build it again from its records") from None
    return board


def decoded(value: Any, kind: Any) -> Any:
    """Return plain JSON data as the annotated type: dataclasses, tuples, plain values.

    Raises:
        ValueError: If the data have another shape.
    """
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if set(value) != set(hints):
            raise ValueError(f"{kind} has other fields than {sorted(value)}")
        return typing.cast(Any, kind)(**{k: decoded(v, hints[k]) for k, v in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        return decoded(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        many = len(arguments) == 2 and arguments[1] is Ellipsis
        each = (arguments[0],) * len(value) if many else arguments
        return tuple(decoded(v, k) for v, k in zip(value, each, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value
