"""The run at a glance: losses, targets, features and rates over the steps, one small picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omnirad.atomic import written

Row = dict[str, Any]
# Title, fields, and the range of the axis where it is known.
PANELS: tuple[tuple[str, tuple[str, ...], tuple[float, float] | None], ...] = (
    ("losses", ("dino", "ibot", "kl"), None),
    ("entropy / ln K", ("target_entropy", "marginal_entropy", "prototype_usage"), (0, 1.05)),
    ("class tokens", ("cls_std", "cls_patch_cosine", "patch_patch_cosine"), None),
    ("RankMe", ("rank_cls", "rank_patches"), None),
    ("gradient norm before clipping", ("grad_norm_encoder", "grad_norm_dino_head"), None),
    ("kNN on the probe's validation split", ("knn_accuracy", "knn_auc", "raw_accuracy"), None),
)


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw a log; panels without a value are left out, and without any there is no picture.

    Args:
        rows: Lines of the log.
        path: The PNG file to write.
    """
    from matplotlib.figure import Figure

    shown = [panel for panel in PANELS if any(_points(rows, field)[0] for field in panel[1])]
    if not shown:
        return
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * lines))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (title, fields, limits) in zip(axes, shown, strict=False):
        for field in fields:
            steps, values = _points(rows, field)
            if steps:
                marker = "." if len(steps) < 20 else ""
                axis.plot(steps, values, label=field, linewidth=1, marker=marker)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6)
        if limits:
            axis.set_ylim(*limits)
    for axis in axes[len(shown) :]:
        axis.axis("off")
    figure.supxlabel("step", fontsize=8)
    # Constrained layout would draw everything twice to measure it.
    figure.subplots_adjust(
        left=0.15 / columns, right=0.98, bottom=0.2 / lines, top=0.95, wspace=0.22, hspace=0.3
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    with written(path) as stream:
        stream.write(buffer.getvalue())


def _points(rows: Sequence[Row], field: str) -> tuple[list[int], list[float]]:
    found = [(row["step"], row[field]) for row in rows if row.get(field) is not None]
    return [step for step, _ in found], [value for _, value in found]
