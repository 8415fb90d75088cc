"""Small pictures of samples, as PNG inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from omnibench.audit.findings import Case
from omnibench.interfaces import Dataset

SIDE = 192  # pixels of the longer side
OUTLINE = (255, 200, 0)


class Pictures:
    """Draws samples of a dataset by split and id."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def uri(self, case: Case, *, outlined: bool = False) -> str:
        """Return one image, if wanted with its mask's outline, as a `data:` address."""
        split = self._dataset.split(case.split)
        image = split.image(int(np.searchsorted(split.ids, case.id)))
        png = _png(image, self.target(case) if outlined else None)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"

    def target(self, case: Case) -> Any:
        """Return the target of one sample."""
        split = self._dataset.split(case.split)
        return split.target(int(np.searchsorted(split.ids, case.id)))


def _png(image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None) -> bytes:
    values = np.asarray(image)
    if values.dtype != np.uint8:
        values = np.rint(values * 255).astype(np.uint8)
    drawn = Image.fromarray(values)
    drawn.thumbnail((SIDE, SIDE))
    if mask is not None:
        small = Image.fromarray((mask > 0).astype(np.uint8)).resize(drawn.size)
        shape = np.asarray(small) > 0
        edge = shape & ~ndimage.binary_erosion(shape, border_value=1)
        coloured = np.array(drawn.convert("RGB"))
        coloured[edge] = OUTLINE
        drawn = Image.fromarray(coloured)
    stream = io.BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    return stream.getvalue()
