"""In which order images are seen: functions of (seed, epoch), so that nothing need be saved.

`uniform` is a permutation of all images. `balanced` draws a stratum (modality × anatomy, or source)
in proportion to the square root of its size: of two strata the one with 100 times the images is
seen 10 times as often, not 100 times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from omnirad.data.sources import Array
from omnirad.randomness import numpy_generator


class Order(NamedTuple):
    """What an epoch shows: as many images as the source has."""

    indices: Array  # int64 [N]
    # int64 [N]: how often the image was drawn before, in all epochs; with the sample it names
    # the augmentation, so that an image drawn twice in an epoch is not augmented alike.
    passes: Array


def uniform(count: int, seed: int, epoch: int) -> Order:
    """Return a permutation of `count` images."""
    indices = numpy_generator("order", seed, epoch).permutation(count)
    return Order(indices, np.full(count, epoch, dtype=np.int64))


def balanced(codes: Array, seed: int, epoch: int) -> Order:
    """Return a √-frequency balanced epoch.

    Every stratum is an endless row of permutations of its images, of which each epoch takes the
    next part: no image comes a second time before all of its stratum came once.

    Args:
        codes: Stratum of every image, int64 [N], 0 to the number of strata - 1.
        seed: Seed of the run.
        epoch: 0-based.
    """
    parts = [
        _taken(np.flatnonzero(codes == stratum), (seed, stratum), epoch, quota)
        for stratum, quota in enumerate(quotas(np.bincount(codes)))
    ]
    indices, passes = (np.concatenate(column) for column in zip(*parts, strict=True))
    shuffle = numpy_generator("order", seed, epoch).permutation(len(indices))
    return Order(indices[shuffle], passes[shuffle])


def quotas(sizes: Array) -> list[int]:
    """Return how many images of each stratum an epoch shows: ∝ √size, together sum(sizes)."""
    weights = np.sqrt(sizes)
    exact = sizes.sum() * weights / weights.sum()
    whole = np.floor(exact).astype(np.int64)
    # The largest remainders get what rounding left over; of equal ones the first.
    rest = int(sizes.sum() - whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return [int(number) for number in whole]


def _taken(members: Array, seed: tuple[int, int], epoch: int, quota: int) -> tuple[Array, Array]:
    """Return the images of one stratum in an epoch, and how often each was drawn before."""
    positions = np.arange(epoch * quota, (epoch + 1) * quota)
    rounds, places = np.divmod(positions, len(members))
    indices = np.empty(quota, dtype=np.int64)
    for number in np.unique(rounds):
        order = numpy_generator("stratum", *seed, number).permutation(members)
        indices[rounds == number] = order[places[rounds == number]]
    return indices, rounds
