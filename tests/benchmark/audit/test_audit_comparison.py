from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from omnibench.audit import neighbours, symmetries
from omnibench.audit.prints import thumbnail
from omnibench.audit.verification import SAME, compare


@pytest.mark.parametrize("symmetry", symmetries.ALL)
def test_a_symmetry_and_its_inverse_give_the_image_back(symmetry):
    image = np.arange(12).reshape(3, 4)
    back = symmetries.turned(symmetries.turned(image, symmetry), int(symmetries.INVERSE[symmetry]))
    assert np.array_equal(back, image)


def test_the_eight_symmetries_differ_and_are_what_they_are_called():
    image = np.arange(9).reshape(3, 3)
    assert len({symmetries.turned(image, s).tobytes() for s in symmetries.ALL}) == 8
    by_name = {symmetries.NAMES[s]: symmetries.turned(image, s) for s in (2, 3, 4, 5, 6)}
    assert np.array_equal(by_name["upside down"], image[::-1])
    assert np.array_equal(by_name["mirrored"], image[:, ::-1])
    assert np.array_equal(by_name["turned by 90° to the left"], np.rot90(image))
    assert np.array_equal(by_name["turned by 90° to the right"], np.rot90(image, -1))
    assert np.array_equal(by_name["turned by 180°"], np.rot90(image, 2))


def test_products_of_descriptions_are_exact_whole_numbers_in_any_order_of_summation(texture):
    described = neighbours.describe(np.stack([thumbnail(texture(s)) for s in range(6)]))
    whole = described.astype(np.int64)
    assert np.array_equal(described, whole)
    assert np.array_equal((described @ described.T).astype(np.int64), whole @ whole.T)
    assert np.abs(whole @ whole.T).max() < 2**24


def test_candidates_hold_the_turned_copy_with_the_symmetry_that_leads_to_it(texture):
    images = [texture(s) for s in range(30)]
    images.append(np.rot90(images[7]).copy())
    described = neighbours.describe(np.stack([thumbnail(i) for i in images]))
    found = neighbours.nearest(described, (0, 31, 31, 31), 0, 31)
    first, second, symmetry = neighbours.pairs(found)
    place = np.flatnonzero((first == 7) & (second == 30))
    assert len(place) == 1
    assert symmetries.NAMES[symmetry[place[0]]] == "turned by 90° to the left"
    assert np.all(first < second)


def test_blocks_of_rows_give_the_candidates_of_all_rows_at_once(monkeypatch, texture):
    described = neighbours.describe(np.stack([thumbnail(texture(s)) for s in range(40)]))
    bounds = (0, 25, 25, 40)
    whole = neighbours.nearest(described, bounds, 0, 40)
    monkeypatch.setattr(neighbours, "BLOCK", 7 * 40)
    parts = [neighbours.nearest(described, bounds, at, at + 20) for at in (0, 20)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_crop_is_laid_where_it_was_cut_out(texture):
    image = texture(3, 200)
    crop = image[10:194, 4:190]  # 92 % of the height, 93 % of the width
    scores, boxes = compare(thumbnail(crop)[None], thumbnail(image)[None])
    assert scores[0] > SAME
    # Centre of the crop: 102 of 200 pixels in height, 97 in width; coordinates run from -1 to 1.
    assert boxes[0] == pytest.approx([0.92, 0.02, 0.93, -0.03], abs=0.005)


def test_other_brightness_contrast_and_size_change_nothing(texture):
    image = texture(4, 200)
    darker = np.rint(image * 0.6 + 5).astype(np.uint8)
    small = np.array(Image.fromarray(darker).resize((150, 150), Image.Resampling.BICUBIC))
    scores, _ = compare(thumbnail(small)[None], thumbnail(image)[None])
    assert scores[0] > 0.99


def test_burnt_in_marks_on_one_copy_change_nothing(texture):
    image = texture(5, 200)
    marked = image.copy()
    marked[60:64, 20:180] = marked[20:180, 100:104] = 255
    scores, _ = compare(thumbnail(marked)[None], thumbnail(image)[None])
    assert scores[0] > SAME


def test_images_that_share_only_what_is_coarse_are_told_apart(texture):
    one, other = texture(6).astype(float), texture(7).astype(float)
    y, x = np.mgrid[-1:1:144j, -1:1:144j]
    body = 150 * np.exp(-3 * (x**2 + 0.6 * y**2))  # the same organ in two patients
    pair = [np.clip(body + 0.3 * image, 0, 255).astype(np.uint8) for image in (one, other)]
    scores, _ = compare(thumbnail(pair[0])[None], thumbnail(pair[1])[None])
    assert scores[0] < 0.5


def test_nothing_is_claimed_of_images_with_hardly_any_structure():
    flat = np.full((144, 144), 90, np.uint8)
    flat[70:74, 70:74] = 200
    scores, _ = compare(thumbnail(flat)[None], thumbnail(flat)[None])
    assert scores[0] == 0
