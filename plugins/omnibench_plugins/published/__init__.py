"""Published numbers as data, shown beside ours where the metric is the same."""

from __future__ import annotations

from collections.abc import Iterable

from omnibench.cards import PublishedValue
from omnibench.hookspecs import hookimpl


@hookimpl
def omnibench_published() -> Iterable[PublishedValue]:
    """Return the cells of the OmniRad paper's tables that name an encoder we have."""
    from omnibench_plugins.published import omnirad_2026

    return omnirad_2026.values()
