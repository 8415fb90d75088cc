"""A sheet of test images: reference outlines above, what was right and wrong below."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from omnibench.interfaces import Dataset
from omnibench.metrics.segmentation import dice, per_image

Array = np.ndarray[Any, Any]

# Okabe and Ito's palette: told apart also without red-green vision
CORRECT, SURPLUS, MISSED, CONFUSED = "#009E73", "#56B4E9", "#D55E00", "#F0E442"
# Outlines of the first foreground classes, away from the colours above
OUTLINES = ("#FFD400", "#FF4FD8", "#00E5FF", "#FFFFFF")
ALPHA = 0.55
COLUMN = 2.1  # inches


class Case(NamedTuple):
    """One test image on the sheet."""

    id: int
    image: Array  # [H, W] or [H, W, 3]
    reference: Array  # classes, uint8 [S, S]
    predicted: Array  # classes, uint8 [S, S]
    dice: float  # mean over foreground classes, both empty = 1


def sheet_png(dataset: Dataset, predictions: Mapping[str, Array], title: str) -> bytes:
    """Draw the stored predicted maps over their images.

    Args:
        dataset: Gives images and references of the test split.
        predictions: Of a run: gallery ids and maps, test ids and counts.
        title: First line above the picture.

    Returns:
        A PNG image, one column a case.
    """
    cases = _cases(dataset, predictions)
    figure = Figure(figsize=(COLUMN * len(cases) + 0.5, 2 * COLUMN + 1.2), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(cases), squeeze=False)
    colours = _class_colours(len(dataset.classes))
    for column, case in enumerate(cases):
        _show(axes[0, column], case)
        _outline(axes[0, column], case.reference, colours)
        axes[0, column].set_title(f"case {case.id}\nDice {100 * case.dice:.1f} %", fontsize=8)
        _show(axes[1, column], case, verdicts(case.reference, case.predicted))
    axes[0, 0].set_ylabel("reference", fontsize=8)
    axes[1, 0].set_ylabel("prediction", fontsize=8)
    figure.suptitle(title, fontsize=9, y=0.98, parse_math=False)
    _legend(figure, dataset.classes, colours)
    figure.subplots_adjust(left=0.04, right=0.99, top=0.86, bottom=0.13, wspace=0.04, hspace=0.04)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def verdicts(reference: Array, predicted: Array) -> Array:
    """Return RGBA [S, S, 4]: correct foreground, too much, missed, another foreground class.

    Args:
        reference: Classes [S, S], 0 is the background.
        predicted: Classes [S, S].
    """
    told, meant = predicted > 0, reference > 0
    picture = np.zeros((*reference.shape, 4))
    picture[told & meant & (predicted == reference)] = to_rgba(CORRECT, ALPHA)
    picture[told & ~meant] = to_rgba(SURPLUS, ALPHA)
    picture[~told & meant] = to_rgba(MISSED, ALPHA)
    picture[told & meant & (predicted != reference)] = to_rgba(CONFUSED, ALPHA)
    return picture


def _cases(dataset: Dataset, predictions: Mapping[str, Array]) -> list[Case]:
    split = dataset.split("test")
    key = next(name for name in predictions if name.startswith("gallery_mask@"))
    counts = predictions[f"test_counts@{key.partition('@')[2]}"]
    scores = per_image(dice, counts)
    cases = []
    for identity, predicted in zip(predictions["gallery_id"], predictions[key], strict=True):
        row = int(np.searchsorted(split.ids, identity))
        reference = nearest(np.asarray(split.target(row)), len(predicted))
        cases.append(Case(int(identity), split.image(row), reference, predicted, scores[row]))
    return cases


def nearest(mask: Array, size: int) -> Array:
    """Squash a mask [H, W] to [size, size] as `omnibench.loading.resized_masks` does."""
    rows, columns = (np.arange(size) * side // size for side in mask.shape)
    squashed: Array = mask[rows][:, columns]
    return squashed


def _show(axes: Axes, case: Case, overlay: Array | None = None) -> None:
    """Draw an image in its own proportions, on the square grid of the maps."""
    side = len(case.reference)
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    axes.imshow(case.image, cmap="gray", extent=extent)
    if overlay is not None:
        axes.imshow(overlay, extent=extent, interpolation="nearest")
    height, width = case.image.shape[:2]
    axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], aspect=height / width)


def _outline(axes: Axes, reference: Array, colours: list[Any]) -> None:
    for number, colour in enumerate(colours, start=1):
        here = np.pad(reference == number, 1)  # closes outlines at the border
        if here.any():
            position = np.arange(len(here)) - 1
            axes.contour(position, position, here, levels=[0.5], colors=[colour], linewidths=0.9)


def _class_colours(classes: int) -> list[Any]:
    """Return one outline colour for each foreground class."""
    if classes - 1 <= len(OUTLINES):
        return list(OUTLINES[: classes - 1])
    palette = matplotlib.colormaps["tab20"]
    return [palette(number % palette.N) for number in range(classes - 1)]


def _legend(figure: Figure, classes: tuple[str, ...], colours: list[Any]) -> None:
    outlines = [
        Line2D([], [], color=colour, label=name)
        for name, colour in zip(classes[1:], colours, strict=True)
    ]
    kinds = {"correct": CORRECT, "too much": SURPLUS, "missed": MISSED}
    if len(classes) > 2:
        kinds["wrong class"] = CONFUSED
    patches = [Patch(color=colour, alpha=ALPHA, label=name) for name, colour in kinds.items()]
    handles = [*outlines, *patches]
    legend = figure.legend(handles=handles, loc="lower center", ncols=min(8, len(handles)))
    for text in legend.get_texts():
        text.set(fontsize=8, parse_math=False)
