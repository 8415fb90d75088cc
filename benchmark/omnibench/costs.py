"""What a run takes, from what its parts take; importing this never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = "omnibench.cost/1"


def hours(
    parts: Sequence[Mapping[str, Any]],
    split_sizes: tuple[int, int, int],
    *,
    seeds: int,
    epochs: int,
) -> dict[str, float]:
    """Return what all seeds of a cell take, by stage; reading images and metrics come on top.

    Args:
        parts: Cost records with `stage` (see `omnibench.interfaces.Part`) and `seconds_per_image`.
        split_sizes: Images in train, val and test.
        seeds: How many are run.
        epochs: Of each.
    """
    train, val, test = split_sizes
    images = {
        "once": train + val + test,
        "training": seeds * epochs * train,
        "evaluation": seeds * (epochs * val + val + test),
        "prediction": seeds * (val + test),
    }
    return {
        stage: count * sum(p["seconds_per_image"] for p in parts if p["stage"] == stage) / 3600
        for stage, count in images.items()
    }
