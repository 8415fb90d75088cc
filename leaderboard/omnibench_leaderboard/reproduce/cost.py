"""What a run costs before it is run: an encoder's operations, images and epochs.

Every pass is counted as if nothing were kept on disk; frozen outputs that are kept make seeds
after the first cheaper. A backward pass costs twice the forward pass of what is trained.
"""

from __future__ import annotations

import time
from typing import Any

from omnibench.cards import DatasetSpec, EncoderSpec

BACKWARD = 2  # forward passes that the gradients of a module cost
SIDE, ROUNDS = 1024, 20  # of the product that measures this machine


def encoder_flops(card: EncoderSpec, size: int) -> int | None:
    """Return the operations of one image through a vision transformer, 2 per multiply-add.

    A block has 12 D² weights a token (queries, keys, values and projection 4 D², MLP 8 D²), and
    its attention takes 2 N D products a token. None where the card does not tell the shape.

    Args:
        card: Width D, depth and patch size in pixels.
        size: Side of the image in pixels.
    """
    width, patch = card.embed_dim, card.patch_size
    if card.end_to_end or not width or not card.depth or patch < 2:
        return None
    patches = (size // patch) ** 2
    tokens = patches + 1
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    return 2 * (card.depth * block + patches * 3 * patch**2 * width)


def run_flops(
    card: EncoderSpec, dataset: DatasetSpec, recipe: Any, task_flops: int
) -> float | None:
    """Return the operations of one run: training, validation after every epoch, and test.

    Args:
        card: The encoder.
        dataset: Its published split sizes count.
        recipe: Says `image_size` (pixels), `epochs`, and, where the encoder may be trained,
            `tuning`.
        task_flops: Of one image through what the task adds.

    Returns:
        None where the encoder's shape, the split sizes or the recipe do not tell.
    """
    size, epochs = getattr(recipe, "image_size", None), getattr(recipe, "epochs", None)
    if size is None or epochs is None or dataset.split_sizes is None:
        return None
    forward = encoder_flops(card, size)
    if forward is None:
        return None
    train, val, test = dataset.split_sizes
    predicted = epochs * val + test
    # Adapters need the gradients of everything above them, so they cost what full tuning does.
    frozen = getattr(recipe, "tuning", "head") == "head"
    step = forward * (1 if frozen else 1 + BACKWARD) + task_flops * (1 + BACKWARD)
    return float(epochs * train * step + predicted * (forward + task_flops))


def throughput() -> float:
    """Return the operations a second of this machine's CPU: the best of several matrix products."""
    import numpy as np

    a = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best
