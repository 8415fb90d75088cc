"""Small pictures of samples, as PNG inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from omnibench.audit.findings import Case
from omnibench.interfaces import Dataset

SIDE = 192  # pixels of the longer side


class Pictures:
    """Draws samples of a dataset by split and id."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def uri(self, case: Case) -> str:
        """Return one image as a `data:` address that needs no file."""
        split = self._dataset.split(case.split)
        index = int(np.searchsorted(split.ids, case.id))
        return f"data:image/png;base64,{base64.b64encode(_png(split.image(index))).decode()}"

    def target(self, case: Case) -> Any:
        """Return the target of one sample."""
        split = self._dataset.split(case.split)
        return split.target(int(np.searchsorted(split.ids, case.id)))


def _png(image: np.ndarray[Any, Any]) -> bytes:
    values = np.asarray(image)
    if values.dtype != np.uint8:
        values = np.rint(values * 255).astype(np.uint8)
    drawn = Image.fromarray(values)
    drawn.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    return stream.getvalue()
