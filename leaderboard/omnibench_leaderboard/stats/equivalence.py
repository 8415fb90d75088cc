"""Margins of equivalence: part of the protocol, fixed before any result is seen."""

from __future__ import annotations

SMALL_DATASET = 500  # test cases
MARGIN, SMALL_MARGIN = 0.005, 0.010  # fractions: 0.5 and 1.0 percent points
WITH_MARGIN = ("accuracy", "balanced_accuracy", "f1_", "auc", "miou_", "iou_", "dice_")


def margin(metric: str, cases: int) -> float | None:
    """Return the largest difference of a metric that counts as none.

    Args:
        metric: A metric id of classification or segmentation; for others (captioning, foreign
            tasks) there is no margin, and no verdict of equivalence.
        cases: Number of test cases.

    Returns:
        A fraction in (0, 1), or None.
    """
    if not metric.startswith(WITH_MARGIN):
        return None
    return MARGIN if cases >= SMALL_DATASET else SMALL_MARGIN
