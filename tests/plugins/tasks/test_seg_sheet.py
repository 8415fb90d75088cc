"""The picture of a few cases that a run of `seg` leaves."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from tiny_segmentation import TASK, TINY, blobs, outcome

from omnibench_plugins.tasks.seg.sheet import verdicts


def test_verdicts_tell_correct_surplus_missed_and_confused_pixels_apart():
    reference, predicted = np.array([[0, 1, 0, 1, 2]]), np.array([[0, 1, 1, 0, 1]])
    picture = verdicts(reference, predicted)[0]
    assert picture[0].tolist() == [0, 0, 0, 0]
    assert len({tuple(pixel) for pixel in picture}) == 5


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_sheet_is_drawn_for_a_few_cases(classes):
    dataset = blobs(classes, counts=(4, 2, 3), native=50)
    found = outcome(dataset, dataclasses.replace(TINY, epochs=1))
    png = TASK.draw(dataset, found.predictions, "tiny · seg · $blobs$")
    picture = Image.open(io.BytesIO(png))
    assert picture.size[0] > 3 * 200
    assert len(picture.convert("RGB").getcolors(10**7)) > 100
