"""JSON as its standard has it: what Python's parser forgives is refused."""

from __future__ import annotations

import json
import math
from typing import Any

from omnibench.errors import IntegrityError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_INTEGER = 2**63 - 1  # what other readers of JSON, and arrays, can hold


def loads(text: bytes, where: str) -> Any:
    """Parse JSON of bounded size and depth; no NaN, no duplicate keys, no halves of characters.

    Args:
        text: The file's bytes.
        where: How messages name the file.

    Raises:
        IntegrityError: If it is anything else.
    """
    if len(text) > MAX_BYTES:
        raise IntegrityError(f"{where}: more than {MAX_BYTES} bytes are too many for a record")
    try:
        decoded = text.decode("utf-8")
        if _depth(decoded) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        found = json.loads(
            decoded,
            parse_constant=_refuse,
            parse_float=_bounded_float,
            parse_int=_bounded_integer,
            object_pairs_hook=_unique,
        )
        # An escaped half of a character (\ud800) is no text that could be written again.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not a strict JSON record ({error})") from None
    return found


def _refuse(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _bounded_float(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise ValueError(f"{literal[:20]} is out of range")
    return value


def _bounded_integer(literal: str) -> int:
    value = int(literal) if len(literal) <= len(str(MAX_INTEGER)) + 1 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"the integer {literal[:20]}… is out of range")
    return value


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
