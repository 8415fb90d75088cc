"""The percentile interval of a two-level bootstrap: offered beside the default, never as it.

With few seeds it is too narrow where seeds dominate, and too wide where cases do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omnibench_leaderboard.stats.randomness import generator
from omnibench_leaderboard.stats.statistic import Floats

MIN_SEEDS = 3


def hierarchical_interval(
    resampled: Floats, content: Sequence[str], level: float = 0.95
) -> tuple[float, float] | None:
    """Return the percentile interval of a mean over seeds.

    Args:
        resampled: A metric, or a difference of metrics, of every seed on resampled cases [R, S].
        content: Digests from which the draws of seeds derive.
        level: Nominal coverage.

    Returns:
        The interval; None with fewer than three seeds or where it would have no width.
    """
    rows, seeds = resampled.shape
    if seeds < MIN_SEEDS:
        return None
    drawn = generator("hierarchical", content).integers(seeds, size=(rows, seeds))
    means = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail])
    return (float(low), float(high)) if high > low else None
