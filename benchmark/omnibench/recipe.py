"""`--set field=value`, checked against a recipe's dataclass fields before anything runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from omnibench.errors import UsageError, suggestion

log = logging.getLogger(__name__)


@runtime_checkable
class KnowsIdle(Protocol):
    """A recipe some of whose fields have no effect under certain values of others."""

    @property
    def idle(self) -> Collection[str]:
        """Names of the fields that cannot change a number as the others are."""


def override(recipe: Any, settings: Mapping[str, str]) -> Any:
    """Return a copy of a frozen dataclass with fields replaced by parsed texts.

    Raises:
        UsageError: For a field the recipe does not have, or a value of another type.
    """
    hints = typing.get_type_hints(type(recipe))
    changes = {}
    for name, text in settings.items():
        if name not in hints:
            raise UsageError(
                f"the recipe has no field {name!r}.{suggestion(name, hints)} "
                f"It has: {', '.join(sorted(hints))}"
            )
        changes[name] = _parse(name, text, hints[name])
        _check_range(name, changes[name])
    return dataclasses.replace(recipe, **changes)


def without_idle(recipe: Any, named: Any) -> Any:
    """Return a recipe whose fields without effect are as in the named recipe it came from.

    What cannot change a number must not make another run of it.
    """
    idle = recipe.idle if isinstance(recipe, KnowsIdle) else ()
    changed = {n: v for n in idle if (v := getattr(named, n)) != getattr(recipe, n)}
    for name, value in changed.items():
        log.warning(
            "--set %s=%s has no effect with the other settings; it stays %s",
            name,
            getattr(recipe, name),
            value,
        )
    return dataclasses.replace(recipe, **changed)


def as_document(recipe: Any) -> dict[str, str]:
    """Return every field as a decimal or plain string, the form that is hashed and stored."""
    return {
        name: json.dumps(value) if isinstance(value, tuple | list | dict) else str(value)
        for name, value in dataclasses.asdict(recipe).items()
    }


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document of strings and integers as canonical JSON."""
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _check_range(name: str, value: Any) -> None:
    """Refuse numbers that no recipe can mean; what else a field forbids its recipe says."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not (math.isfinite(number) and number >= 0):
            raise UsageError(f"--set {name}={number}: {name} must be finite and not negative")


def _parse(name: str, text: str, hint: Any) -> Any:
    """Parse a command-line text as the annotated type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in arguments:
            return None
        hint = next(a for a in arguments if a is not type(None))
        return _parse(name, text, hint)
    if origin is typing.Literal:
        if text in arguments:
            return text
        raise UsageError(
            f"--set {name}={text}: {name} is one of {', '.join(map(str, arguments))}."
            f"{suggestion(text, map(str, arguments))}"
        )
    if origin is tuple:
        parts = [part for part in text.strip("()[] ").split(",") if part.strip()]
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            raise UsageError(f"--set {name}={text}: {name} takes {len(arguments)} values")
        return tuple(_parse(name, part.strip(), arguments[0]) for part in parts)
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UsageError(f"--set {name}={text}: {name} is true or false")
    try:
        return hint(text)
    except ValueError:
        raise UsageError(f"--set {name}={text}: {name} takes {hint.__name__}") from None
