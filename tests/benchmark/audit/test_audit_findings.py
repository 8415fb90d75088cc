from __future__ import annotations

import json

import numpy as np
import pytest

from omnibench.audit import audit, leaks
from omnibench.audit.wording import lines
from omnibench.errors import IntegrityError


def told(dataset, **options):
    return dict(lines(audit(dataset, **options)))


def test_a_group_in_two_splits_is_told_with_its_samples(memory, texture):
    images = [texture(s) for s in range(6)]
    dataset = memory(images[:3], images[3:4], images[4:], groups=[7, 7, 8, 9, 7, 9])
    torn = audit(dataset).torn
    assert [(t.group, dict(t.samples)) for t in torn] == [
        (7, {"train": 2, "test": 1}),
        (9, {"val": 1, "test": 1}),
    ]
    assert told(dataset)["group leakage"] == "2 in several splits: 7, 9"


def test_unknown_groups_are_not_called_sound(memory, texture):
    assert "not known" in told(memory([texture(0)], [], []))["group leakage"]


def test_class_counts_absent_classes_and_labels_out_of_range_are_told(memory, texture):
    images = [texture(s) for s in range(4)]
    dataset = memory(images[:2], images[2:3], images[3:], targets=[0, 1, 1, 5])
    splits = audit(dataset).splits
    assert splits["train"].classes == {"dark": 1, "bright": 1} and splits["train"].absent == ()
    assert splits["val"].absent == ("dark",)
    assert splits["test"].out_of_range == (3,)
    assert "ABSENT: dark" in told(dataset)["images of a class in val"]


def test_empty_masks_values_out_of_range_and_other_sizes_are_told(memory, texture):
    images = [texture(s) for s in range(4)]
    empty, wrong = np.zeros((144, 144), np.uint8), np.full((144, 144), 9, np.uint8)
    full, small = np.ones((144, 144), np.uint8), np.ones((20, 20), np.uint8)
    dataset = memory(images[:2], images[2:3], images[3:], [empty, full, wrong, small], kind="masks")
    splits = audit(dataset).splits
    assert splits["train"].empty_masks == (0,) and splits["train"].out_of_range == ()
    assert splits["val"].out_of_range == (2,) and splits["test"].out_of_range == (3,)


def test_split_sizes_are_compared_with_the_published(memory, texture):
    dataset = memory([texture(0)], [texture(1)], [texture(2)])
    assert told(dataset, published=(1, 1, 1))["samples"] == "1/1/1, as published"
    assert told(dataset, published=(9, 1, 1))["samples"] == "1/1/1; published are 9/1/1"
    assert "not compared with published sizes" in told(dataset)["samples"]


def test_images_that_cannot_be_read_or_break_the_contract_are_listed_and_the_rest_is_audited(
    memory, texture
):
    bright = np.full((144, 144), 3.0, np.float32)
    strange = np.zeros((144, 144), np.int64)
    hollow = np.full((144, 144), np.nan, np.float32)
    image = texture(0)
    seen = audit(memory([image, None], [bright, strange], [hollow, image]))
    assert seen.splits["train"].unreadable == (1,)
    assert seen.splits["val"].invalid == (2, 3) and seen.splits["test"].invalid == (4,)
    assert seen.damaged == 4
    assert [(p.first.id, p.second.id) for p in seen.pairs] == [(0, 5)]


def test_nobody_calls_a_dataset_clean_whose_images_cannot_be_read(memory, texture):
    with pytest.raises(IntegrityError, match="1 of 2 images of memory cannot be read"):
        leaks(memory([texture(0)], [], [None]))


def test_sizes_and_ranges_of_images_are_told_per_split(memory, texture):
    real = (texture(0) / 255).astype(np.float32)
    colour = np.stack([texture(s) for s in (1, 2, 3)], axis=2)
    seen = audit(memory([texture(4), texture(5), texture(6, 100)], [real], [colour])).splits
    assert seen["train"].sizes == {"144x144 uint8": 2, "100x100 uint8": 1}
    assert seen["val"].sizes == {"144x144 float": 1}
    assert seen["test"].sizes == {"144x144x3 uint8": 1}
    assert seen["val"].high == pytest.approx(220 / 255) and seen["val"].low == pytest.approx(
        20 / 255
    )


def test_an_empty_split_is_no_obstacle(memory, texture):
    seen = audit(memory([texture(0)], [], []))
    assert seen.splits["val"].mean is None and seen.splits["test"].samples == 0


def test_texts_have_no_label_counts(memory, texture):
    seen = audit(memory([texture(0)], [], [texture(0)], [("a",), ("b",)], kind="captions"))
    assert seen.pairs[0].agreement is None and seen.splits["train"].classes == {}


def test_findings_are_plain_json(memory, texture):
    image = texture(0)
    document = audit(memory([image], [image], [], targets=[0, 1])).as_json()
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["pairs"][0]["first"] == {"split": "train", "id": 0}
    assert again["pairs"][0]["conflicting"] is True and again["leaking"]["val"] == [1]
