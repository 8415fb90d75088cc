"""Losses over pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.recipe import SegRecipe

EPSILON = 1e-7  # segmentation_models_pytorch's


def pixel_loss(logits: Tensor, masks: Tensor, recipe: SegRecipe) -> Tensor:
    """Return the recipe's mean loss.

    Args:
        logits: [B, C, h, w].
        masks: Class indices, int64 [B, h, w].
        recipe: Names the loss.
    """
    binary = logits.shape[1] == 2
    if recipe.loss == "cross_entropy":
        return F.cross_entropy(logits, masks)
    if recipe.loss == "medsegbench" and not binary:
        # its multi-class networks end in softmax, whose outputs are then taken for logits
        return F.cross_entropy(logits.float().softmax(dim=1), masks)
    return dice_loss(logits, masks)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - soft Dice over the pixels of the batch, mean over foreground classes.

    A class without pixels in the batch adds 0, as in segmentation_models_pytorch, whose binary
    loss this is for two classes.
    """
    probabilities = logits.float().softmax(dim=1)[:, 1:]
    target = F.one_hot(masks, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    everywhere = (0, 2, 3)
    both = (probabilities * target).sum(everywhere)
    sizes = (probabilities + target).sum(everywhere)
    present = target.sum(everywhere) > 0
    return ((1 - 2 * both / sizes.clamp(min=EPSILON)) * present).mean()


def nearest(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize class indices, uint8 [B, S, S], to `size`, taking the middle of each cell.

    The first pixel of each cell would move a mask by half a cell against bilinear logits.
    """
    return F.interpolate(masks[:, None], size=tuple(size), mode="nearest-exact")[:, 0]
