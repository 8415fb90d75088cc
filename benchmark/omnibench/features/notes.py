"""Short facts kept in the store: worked out once for everything that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omnibench.features.cache import FeatureStore


def noted(
    store: FeatureStore | None,
    identity: Mapping[str, Any],
    work_out: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what is noted under an identity; worked out, and noted, where nothing is yet.

    Args:
        store: Where notes are kept; None keeps none.
        identity: Everything that they depend on, as JSON.
        work_out: Returns facts fit for JSON. What it raises is raised, and nothing is noted.
    """
    shards = store and store.find(identity, 0)
    if shards:
        return dict(shards[0].description["note"])
    found = dict(work_out())
    if store:
        store.obtain(
            identity,
            0,
            row_bytes=0,
            shard_rows=1,
            produce=lambda *_: {"note": found, "seconds": 0.0},
            what="facts of an encoder",
        )
    return found
