"""Recipes as texts: `--set field=value` in, a document that can be digested and compared out."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnirad.errors import UsageError
from omnirad.recipe import PretrainRecipe


def override(recipe: PretrainRecipe, settings: Sequence[str]) -> PretrainRecipe:
    """Return a recipe with fields replaced by texts of the form `field=value`.

    Raises:
        UsageError: For a field that does not exist, one given twice, or a value it cannot take.
    """
    hints = typing.get_type_hints(PretrainRecipe)
    changes: dict[str, Any] = {}
    for text in settings:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"--set {text}: write --set field=value")
        if name not in hints:
            raise UsageError(
                f"the recipe has no field {name!r}.{suggestion(name, hints)} It has: "
                f"{', '.join(hints)}"
            )
        if name in changes:
            raise UsageError(f"--set {name} is given twice; give it once")
        changes[name] = _parse(name, value, hints[name])
    return dataclasses.replace(recipe, **changes)


def document(recipe: PretrainRecipe) -> dict[str, str]:
    """Return every field as a text, equal for equal recipes."""
    return {name: json.dumps(value) for name, value in dataclasses.asdict(recipe).items()}


def digest(texts: Mapping[str, str]) -> str:
    """Return the SHA-256 (hex) of a document, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` for a near-miss, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _parse(name: str, text: str, hint: Any) -> Any:
    """Parse a text as the annotated type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if text not in arguments:
            raise UsageError(f"--set {name}={text}: {name} is one of {', '.join(arguments)}")
        return text
    if origin is tuple:
        parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            raise UsageError(
                f"--set {name}={text}: {name} takes {len(arguments)} values, as in 0.1,0.5"
            )
        return tuple(_parse(name, part, arguments[0]) for part in parts)
    if hint is bool:
        if text not in ("true", "false"):
            raise UsageError(f"--set {name}={text}: {name} is true or false")
        return text == "true"
    try:
        value = hint(text)
    except ValueError:
        raise UsageError(f"--set {name}={text}: {name} takes {hint.__name__}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"--set {name}={text}: {name} must be finite")
    return value
