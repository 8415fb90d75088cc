"""The OmniRad encoder and its pretraining recipe, usable without the benchmark.

Importing the package imports no torch; names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnirad.exporting import export as export
    from omnirad.model import create_model as create_model
    from omnirad.presets import preset as preset
    from omnirad.recipe import PretrainRecipe as PretrainRecipe

__all__ = ["PretrainRecipe", "create_model", "export", "preset"]

_HOMES = {
    "PretrainRecipe": "omnirad.recipe",
    "create_model": "omnirad.model",
    "export": "omnirad.exporting",
    "preset": "omnirad.presets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
