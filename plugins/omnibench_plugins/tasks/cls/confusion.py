"""The confusion matrix as a picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnibench.metrics.classification import (
    balanced_accuracy,
    checked,
    confusion_counts,
    f1_macro,
)

_LONGEST_NAME = 22  # characters
_MOST_LABELLED = 20  # classes; beyond, only cells that hold something are written in


def confusion_png(
    scores: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str], title: str
) -> bytes:
    """Draw counts and row percentages; colours are row percentages.

    Args:
        scores: Floats [N, C].
        labels: Integers [N] in [0, C).
        classes: C names in index order.
        title: First line above the picture.

    Returns:
        A PNG image.
    """
    s, y = checked(scores, labels)
    counts = confusion_counts(s.argmax(axis=1), y, s.shape[1])
    cell = 0.95 if len(classes) <= 6 else 0.62 if len(classes) <= _MOST_LABELLED else 0.4
    side = 2.6 + cell * len(classes)
    figure = Figure(figsize=(side + 0.9, side), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    _write_cells(axes, counts, shares)
    _name_axes(axes, classes, counts)
    figure.colorbar(image, ax=axes, label="% of the true class", fraction=0.046, pad=0.02)
    lines = [line for line in (title, _summary(counts)) if line]
    axes.set_title("\n".join(lines), fontsize=9, pad=10, parse_math=False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks become boxes; class names of a user's folder may hold any.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _summary(counts: npt.NDArray[np.int64]) -> str:
    accuracy = np.trace(counts) / counts.sum()
    return (
        f"accuracy {100 * accuracy:.1f} %   macro F1 {100 * f1_macro(counts):.1f} %   "
        f"balanced accuracy {100 * balanced_accuracy(counts):.1f} %   n = {counts.sum()}"
    )


def _write_cells(
    axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]
) -> None:
    many = len(counts) > _MOST_LABELLED
    for row, column in np.argwhere(counts > 0) if many else np.ndindex(counts.shape):
        count, share = counts[row, column], shares[row, column]
        axes.text(
            column,
            row,
            f"{count}" if many else f"{count}\n{share:.0f} %",
            ha="center",
            va="center",
            fontsize=6 if many else 8,
            color="white" if share > 55 else "0.15",
        )


def _name_axes(axes: Axes, classes: Sequence[str], counts: Any) -> None:
    names = [n if len(n) <= _LONGEST_NAME else n[: _LONGEST_NAME - 1] + "…" for n in classes]
    ticks = range(len(names))
    size = 8 if len(names) <= _MOST_LABELLED else 6
    axes.set_xticks(ticks, names, fontsize=size)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a dollar sign in a class name is a dollar sign
    if len(names) > 2:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
