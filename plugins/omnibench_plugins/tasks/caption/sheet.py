"""A sheet of test images, each beside its reference and its caption."""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnibench.interfaces import Dataset

Array = np.ndarray[Any, Any]

CASES = 6  # evenly spaced test images: the same for every encoder and seed
ROW = 1.9  # inches
WIDTH = 9.0  # inches
COLUMNS = 100  # characters a line, half as many where they are wide
LINES = 5  # of a text; what is longer ends in an ellipsis
REFERENCE, CAPTION = "#444444", "#0B5394"


def sheet_png(dataset: Dataset, predictions: Mapping[str, Array], title: str) -> bytes:
    """Draw test images with the stored texts.

    Args:
        dataset: Gives the images of the test split.
        predictions: Of a run: test ids, captions and references.
        title: First line above the picture.

    Returns:
        A PNG image, one row a case.
    """
    split = dataset.split("test")
    rows = np.unique(np.linspace(0, len(predictions["test_id"]) - 1, CASES).round().astype(int))
    figure = Figure(figsize=(WIDTH, ROW * len(rows) + 0.5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1, 4.2))
    for (left, right), row in zip(axes, rows, strict=True):
        identity = int(predictions["test_id"][row])
        image = split.image(int(np.searchsorted(split.ids, identity)))
        left.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
        left.set(xticks=[], yticks=[])
        left.set_ylabel(f"case {identity}", fontsize=7)
        references = [str(text) for text in predictions["test_references"][row] if text]
        _write(right, references, str(predictions["test_captions"][row]))
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.subplots_adjust(
        left=0.04, right=0.99, bottom=0.01, top=1 - 0.42 / (ROW * len(rows) + 0.5), wspace=0.04
    )
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks is shown as boxes; the texts themselves are stored.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _write(axes: Axes, references: list[str], caption: str) -> None:
    """Put the first reference and the caption into an empty panel."""
    axes.axis("off")
    more = f" (first of {len(references)})" if len(references) > 1 else ""
    for top, heading, text, colour in (
        (1.0, f"reference{more}", references[0], REFERENCE),
        (0.48, "caption", caption, CAPTION),
    ):
        axes.text(0, top, heading, fontsize=7, color=colour, weight="bold", va="top")
        axes.text(0, top - 0.1, wrapped(text), fontsize=8, color=colour, va="top", parse_math=False)


def wrapped(text: str) -> str:
    """Return a text in a few lines; one without words says so."""
    wide = any(unicodedata.east_asian_width(character) in "WF" for character in text)
    lines = textwrap.wrap(
        text or "(empty)",
        COLUMNS // 2 if wide else COLUMNS,
        max_lines=LINES,
        placeholder=" …",
        break_on_hyphens=False,
    )
    return "\n".join(lines)
