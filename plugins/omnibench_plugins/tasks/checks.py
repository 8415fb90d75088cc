"""Checks of recipe fields that every task makes, before torch is imported."""

from __future__ import annotations

from typing import Any

from omnibench.cards import DatasetKind, DatasetSpec
from omnibench.errors import UsageError


def require_positive(recipe: Any, *names: str) -> None:
    """Refuse fields that are not above 0; a field that is None is switched off.

    Raises:
        UsageError: Naming the first such field.
    """
    for name in names:
        value = getattr(recipe, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}; use --set {name}=N with N > 0")


def require_images(recipe: Any) -> None:
    """Refuse splits of fewer than two images, as `--limit` does.

    Raises:
        UsageError: If an entry of `max_images` is below 2.
    """
    if recipe.max_images is not None and min(recipe.max_images) < 2:
        raise UsageError(
            f"max_images is {recipe.max_images}; use --set max_images=TRAIN,VAL,TEST with at "
            "least 2 images each"
        )


def other_kind(dataset: DatasetSpec, needed: DatasetKind) -> str | None:
    """Return why a dataset of another kind cannot be used, or None."""
    if dataset.kind == needed:
        return None
    # How a folder was understood tells its owner what to move or rename.
    understood = f" ({dataset.notes})" if dataset.collection == "folder" else ""
    return (
        f"dataset {dataset.name!r} has {dataset.kind}{understood}, this task needs {needed}; "
        f"`omnibench list datasets` names datasets with {needed}"
    )


def misfit(image_size: int, step: int, what: str) -> str | None:
    """Return why images of a side do not fit, or None.

    Args:
        image_size: Side in pixels.
        step: What sides must be a multiple of.
        what: The step in words.
    """
    if image_size % step == 0:
        return None
    nearest = max(1, round(image_size / step)) * step
    return f"image_size {image_size} is not a multiple of {what}; use --set image_size={nearest}"
