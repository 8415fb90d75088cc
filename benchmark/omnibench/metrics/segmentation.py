"""Segmentation metrics from stored pixel counts (numpy only).

Notation: N images, C declared classes, class 0 is the background. Counts are int64 [N, C, 4],
the pixels that are true positive, false positive, false negative and true negative for a class
in one image. Every id below is a function of them, exact and independent of batches except where
the definition itself is made of batches.

The grid on which pixels were compared is part of an id: `miou_dataset@448`, or `@native` for each
mask's own size.

| id | definition |
|---|---|
| `miou_dataset`, `dice_dataset` | counts summed over images; mean over classes, background included |
| `miou_fg_dataset`, `dice_fg_dataset` | the same over the foreground classes |
| `miou_paper`, `dice_paper`, `f1_paper` | OmniRad's released evaluation: see `paper_scores` |
| `iou_fg_image`, `dice_fg_image` | mean over images and foreground classes; 1 where reference and prediction are both empty (MedSegBench's, for two classes) |
| `iou_macro_image`, `dice_macro_image` | only with several foreground classes: mean over images and all classes, both empty = 1 (MedSegBench's multi-class) |
| `empty_reference` | share of images and foreground classes without a reference pixel |

Classes that occur neither in reference nor in prediction are left out of `*_dataset`. A metric
that the counts do not define is left out, never NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from omnibench.errors import IntegrityError
from omnibench.interfaces import Metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PAPER_BATCH = 16
PAPER_EPSILON = 1e-6


def metrics_from_counts(counts: npt.ArrayLike, grid: str) -> list[Metric]:
    """Compute every metric that the counts define.

    Args:
        counts: Integers [N, C, 4] in dataset order.
        grid: Where pixels were compared: a side in pixels (`448`) or `native`.

    Raises:
        IntegrityError: If these cannot be counts of such images.
    """
    checked = check_counts(counts, grid)
    values = {name: define(checked) for name, define in DEFINITIONS.items()}
    if checked.shape[1] > 2:
        values |= {name: define(checked) for name, define in MULTI_CLASS.items()}
    metrics = [Metric(id=f"{n}@{grid}", value=v) for n, v in values.items() if v is not None]
    share = empty_reference(checked)
    return [*metrics, Metric(id=f"empty_reference@{grid}", value=share, higher_is_better=False)]


def check_counts(counts: npt.ArrayLike, grid: str) -> Ints:
    """Return counts as int64 [N, C, 4].

    Raises:
        IntegrityError: If they are not whole and non-negative, or if the classes of an image
            disagree about its pixels.
    """
    array = np.asarray(counts)
    if array.ndim != 3 or array.shape[0] < 1 or array.shape[1] < 2 or array.shape[2] != 4:
        raise IntegrityError(
            f"counts have shape {array.shape}; [images, classes, 4] with at least one image and "
            "two classes was expected"
        )
    if array.dtype.kind not in "iu":
        raise IntegrityError(f"counts are {array.dtype}; whole numbers were expected")
    array = array.astype(np.int64)
    if (array < 0).any():
        raise IntegrityError("counts are negative; run the cell again")
    pixels = array.sum(axis=2)
    tp, fp, fn, _ = np.moveaxis(array, 2, 0)
    wrong = (pixels != pixels[:, :1]).any(axis=1) | (pixels[:, 0] == 0)
    for part in (tp + fn, tp + fp):
        wrong |= part.sum(axis=1) != pixels[:, 0]
    if grid.isdecimal():
        wrong |= pixels[:, 0] != int(grid) ** 2
    if wrong.any():
        raise IntegrityError(
            f"the counts of image {int(np.argmax(wrong))} do not add up to its pixels on the grid "
            f"{grid!r}; run the cell again"
        )
    return array


def iou(counts: Ints) -> Floats:
    """Return IoU of counts [..., 4], NaN where reference and prediction are both empty."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return _ratio(tp, tp + fp + fn)


def dice(counts: Ints) -> Floats:
    """Return Dice of counts [..., 4], NaN where reference and prediction are both empty."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def per_image(score: Callable[[Ints], Floats], counts: Ints, first_class: int = 1) -> Floats:
    """Return one score an image [N]: the mean over classes from `first_class`, both empty = 1."""
    scores = score(counts[:, first_class:])
    means: Floats = np.where(np.isnan(scores), 1.0, scores).mean(axis=1)
    return means


def empty_reference(counts: Ints) -> float:
    """Return the share of (image, foreground class) pairs without a reference pixel."""
    return float(np.mean(counts[:, 1:, 0] + counts[:, 1:, 2] == 0))


def paper_scores(counts: Ints, batch_size: int = PAPER_BATCH) -> tuple[float, float, float]:
    """Return mean IoU, Dice and F1 as OmniRad's released evaluation computes them.

    Counts are summed over consecutive batches. In a batch, IoU and Dice are averaged over the
    classes that occur in it, precision over those predicted, recall over those present; F1 is
    the harmonic mean of the last two. Batches count equally, the smaller last one too.
    """
    starts = range(0, len(counts), batch_size)
    batches = [_paper_batch(counts[s : s + batch_size].sum(axis=0)) for s in starts]
    miou, mean_dice, f1 = np.mean(batches, axis=0)
    return float(miou), float(mean_dice), float(f1)


def _paper_batch(counts: Ints) -> tuple[float, float, float]:
    """Return IoU, Dice and F1 of one batch's counts [C, 4]."""
    tp, fp, fn, _ = counts.T
    miou = _paper_mean(tp, tp + fp + fn)
    mean_dice = _paper_mean(2 * tp, 2 * tp + fp + fn)
    precision, recall = _paper_mean(tp, tp + fp), _paper_mean(tp, tp + fn)
    f1 = 2 * precision * recall / (precision + recall + PAPER_EPSILON)
    return miou, mean_dice, f1


def _paper_mean(part: Ints, whole: Ints) -> float:
    """Return the mean ratio over the classes whose denominator is not 0."""
    here = whole > 0
    return float(np.mean(part[here] / (whole[here] + PAPER_EPSILON)))


def _pooled(score: Callable[[Ints], Floats], counts: Ints, first_class: int) -> float | None:
    scores = score(counts.sum(axis=0)[first_class:])
    return None if np.isnan(scores).all() else float(np.nanmean(scores))


def _ratio(part: Ints, whole: Ints) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


DEFINITIONS: dict[str, Callable[[Ints], float | None]] = {
    "miou_dataset": lambda c: _pooled(iou, c, 0),
    "dice_dataset": lambda c: _pooled(dice, c, 0),
    "miou_fg_dataset": lambda c: _pooled(iou, c, 1),
    "dice_fg_dataset": lambda c: _pooled(dice, c, 1),
    "miou_paper": lambda c: paper_scores(c)[0],
    "dice_paper": lambda c: paper_scores(c)[1],
    "f1_paper": lambda c: paper_scores(c)[2],
    "iou_fg_image": lambda c: float(per_image(iou, c).mean()),
    "dice_fg_image": lambda c: float(per_image(dice, c).mean()),
}
MULTI_CLASS: dict[str, Callable[[Ints], float | None]] = {
    "iou_macro_image": lambda c: float(per_image(iou, c, first_class=0).mean()),
    "dice_macro_image": lambda c: float(per_image(dice, c, first_class=0).mean()),
}
