"""Drawing cases, or the clusters they come in, with replacement.

The draws depend on the cases alone. All encoders of a dataset therefore share them, differences
between encoders come at no cost, and adding an encoder changes no other's interval.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from omnibench_leaderboard.stats.cells import Cases
from omnibench_leaderboard.stats.randomness import generator
from omnibench_leaderboard.stats.statistic import Floats, Statistic

RESAMPLES = 2000  # Monte-Carlo error of a standard error: 1 / sqrt(2 * 2000) = 1.6 %
BLOCK = 1 << 21  # numbers held at once, 16 MiB


def draws(cases: Cases, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yield how often each case is drawn, in blocks [r, N] of `resamples` rows in all.

    Units (clusters, or cases where there are none) are drawn, as many as there are.
    """
    rng = generator("case-bootstrap", [cases.digest])
    rows = max(1, BLOCK // len(cases))
    for start in range(0, resamples, rows):
        block = min(rows, resamples - start)
        drawn = rng.integers(cases.units, size=(block, cases.units))
        drawn += cases.units * np.arange(block)[:, None]
        times = np.bincount(drawn.ravel(), minlength=block * cases.units)
        yield times.reshape(block, cases.units)[:, cases.unit].astype(np.float64)


def bootstrap(statistic: Statistic, cases: Cases, resamples: int = RESAMPLES) -> Floats:
    """Return the metric of every run [R, S] on resampled cases; NaN where undefined."""
    return np.concatenate([statistic.resampled(block) for block in draws(cases, resamples)])
