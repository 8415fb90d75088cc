"""iBOT's block masks (D2's generator; unstated in the paper)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from omnirad.randomness import numpy_generator
from omnirad.recipe import PretrainRecipe

Mask = NDArray[np.bool_]
ATTEMPTS = 10  # tries for one block
MAX_LOG_ASPECT = math.log(1 / 0.3)


def draw_masks(
    recipe: PretrainRecipe, crops: int, grid: tuple[int, int], *, seed: int, step: int, rank: int
) -> Mask:
    """Return the masks of one step, a function of (seed, step, rank).

    ⌊crops · mask_probability⌋ crops, shuffled over both views, get a mask. Their ratios are
    stratified: `mask_ratio` is cut into as many bins, and each bin gives one, so that the number
    of masked tokens hardly changes from step to step.

    Args:
        recipe: Probability, range of ratios, and whether counts are exact.
        crops: 2b, two crops of each of a rank's images.
        grid: Patch rows and columns of a crop.
        seed: The run's.
        step: Of the run, from 0.
        rank: Of this process.

    Returns:
        Bool [2b, N], row-major over the grid.
    """
    rng = numpy_generator("masks", seed, step, rank)
    height, width = grid
    masks = np.zeros((crops, height, width), dtype=np.bool_)
    chosen = rng.permutation(crops)[: int(crops * recipe.mask_probability)]
    edges = np.linspace(*recipe.mask_ratio, len(chosen) + 1)
    for crop, low, high in zip(chosen, edges[:-1], edges[1:], strict=True):
        target = int(height * width * rng.uniform(low, high))
        masks[crop] = block_mask(grid, target, rng, exact=recipe.mask_exact)
    return masks.reshape(crops, height * width)


def block_mask(
    grid: tuple[int, int], target: int, rng: np.random.Generator, *, exact: bool = False
) -> Mask:
    """Cover about `target` patches [h, w] with rectangles, never more.

    Blocks may fall one or two patches short; `exact` adds single patches at random.
    """
    height, width = grid
    mask = np.zeros(grid, dtype=np.bool_)
    count = 0
    while count < target:
        limit = min(target - count, height * width // 2)
        added = _add_block(mask, limit, rng)
        if not added:
            break
        count += added
    if exact and count < target:
        free = np.flatnonzero(~mask)
        mask.ravel()[rng.choice(free, target - count, replace=False)] = True
    return mask


def _add_block(mask: Mask, limit: int, rng: np.random.Generator) -> int:
    """Put one rectangle of at most `limit` new patches into the mask; return how many are new."""
    height, width = mask.shape
    smallest = max(1, mask.size // 64)  # 4 on the 16x16 grid
    for _ in range(ATTEMPTS):
        # Where fewer than the smallest block remain, the interval is reversed, and still valid.
        area = smallest + (limit - smallest) * rng.random()
        aspect = math.exp(MAX_LOG_ASPECT * (2 * rng.random() - 1))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < h < height and 0 < w < width):
            continue
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        block = mask[top : top + h, left : left + w]
        new = h * w - int(np.count_nonzero(block))
        if 0 < new <= limit:
            block[...] = True
            return new
    return 0
