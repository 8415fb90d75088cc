"""Families of tests: adjusted p-values, in the order given.

A missing p (None) is no hypothesis: it is dropped first and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import false_discovery_control

from omnibench_leaderboard.stats.statistic import Floats

PValues = Sequence[float | None]


def holm(p_values: PValues) -> list[float | None]:
    """Return Holm's step-down adjusted p-values (family-wise error, any dependence)."""
    return _adjusted(p_values, _holm)


def hochberg(p_values: PValues) -> list[float | None]:
    """Return Hochberg's step-up adjusted p-values (family-wise error, positive dependence)."""
    return _adjusted(p_values, _hochberg)


def benjamini_hochberg(p_values: PValues) -> list[float | None]:
    """Return q-values: false discovery rate, positive dependence."""
    return _adjusted(p_values, lambda p: np.asarray(false_discovery_control(p, method="bh")))


def benjamini_yekutieli(p_values: PValues) -> list[float | None]:
    """Return q-values: false discovery rate, any dependence."""
    return _adjusted(p_values, lambda p: np.asarray(false_discovery_control(p, method="by")))


def family_size(p_values: PValues) -> int:
    """Return m, the number of hypotheses that were tested."""
    return sum(p is not None for p in p_values)


def _adjusted(p_values: PValues, method: Callable[[Floats], Floats]) -> list[float | None]:
    tested = [i for i, p in enumerate(p_values) if p is not None]
    out: list[float | None] = [None] * len(p_values)
    if tested:
        found = method(np.array([p_values[i] for i in tested], dtype=np.float64))
        for i, p in zip(tested, found, strict=True):
            out[i] = float(p)
    return out


def _holm(p: Floats) -> Floats:
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


def _hochberg(p: Floats) -> Floats:
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * np.arange(1, len(p) + 1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out
