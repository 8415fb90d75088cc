"""Bayesian signed-rank test with a region of practical equivalence.

Benavoli et al. (2014): a Dirichlet process over the differences, with one pseudo-observation at 0;
the posterior weights of all Walsh averages left of, inside and right of ±rope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from omnibench.errors import UsageError
from omnibench_leaderboard.stats.randomness import generator

PRIOR_STRENGTH = 0.5
SAMPLES = 50_000


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Probabilities, with a Monte-Carlo error of at most 0.5 / sqrt(50,000) = 0.002.

    Each is the share of posterior samples in which that region holds most weight.
    """

    worse: float
    equivalent: float
    better: float


def signed_rank(differences: npt.ArrayLike, rope: float, content: Sequence[str] = ()) -> Posterior:
    """Return how probable it is that an encoder is worse, practically equal or better.

    Args:
        differences: One an dataset [n], finite; positive where the encoder is better.
        rope: Half-width of practical equality, >= 0, on the scale of the differences.
        content: Digests from which random draws derive.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) == 0 or not np.isfinite(d).all() or rope < 0:
        raise UsageError(f"{d.size} differences and rope {rope}: finite and >= 0 were expected")
    z = np.concatenate([[0.0], d])
    sums = z[:, None] + z[None, :]
    above = np.heaviside(sums - 2 * rope, 0.5)
    below = np.heaviside(-sums - 2 * rope, 0.5)
    rng = generator("bayesian-signed-rank", content)
    weights = rng.dirichlet([PRIOR_STRENGTH, *np.ones(len(d))], size=SAMPLES)
    right = ((weights @ above) * weights).sum(axis=1)
    left = ((weights @ below) * weights).sum(axis=1)
    regions = np.stack([left, 1 - left - right, right], axis=1)
    most = np.isclose(regions, regions.max(axis=1, keepdims=True), rtol=0, atol=1e-12)
    shares = (most / most.sum(axis=1, keepdims=True)).mean(axis=0)
    return Posterior(worse=float(shares[0]), equivalent=float(shares[1]), better=float(shares[2]))
