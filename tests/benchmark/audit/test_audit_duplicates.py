from __future__ import annotations

import numpy as np
import pytest

from omnibench.audit import audit, leaks
from omnibench.audit.findings import Case


def found(dataset, **options):
    return {(p.first.id, p.second.id): p for p in audit(dataset, **options).pairs}


def test_equal_turned_and_near_copies_are_told_apart(memory, texture):
    image = texture(0)
    near = np.clip(image.astype(int) + 15, 0, 255).astype(np.uint8)
    pairs = found(memory([image, texture(1)], [image.copy()], [image[:, ::-1].copy(), near]))
    assert {ids: pair.kind for ids, pair in pairs.items() if ids[0] == 0} == {
        (0, 2): "identical",
        (0, 3): "turned",
        (0, 4): "near",
    }
    assert pairs[0, 3].how == "mirrored" and pairs[0, 2].how == ""
    assert not any(1 in ids for ids in pairs)


def test_grey_is_grey_however_it_is_stored(memory, texture):
    image = texture(0)
    assert found(memory([image], [np.repeat(image[..., None], 3, axis=2)], []))[0, 1].kind == (
        "identical"
    )


def test_small_images_are_compared_for_equality_only(memory, texture):
    image = texture(0, 28)
    near = np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)
    seen = audit(memory([image], [np.rot90(image, 2).copy()], [near]))
    assert [(p.first.id, p.second.id, p.how) for p in seen.pairs] == [(0, 1, "turned by 180°")]
    assert seen.compared == 0


def test_images_of_one_value_are_no_duplicates_of_each_other(memory, texture):
    black = np.zeros((144, 144), np.uint8)
    seen = audit(memory([black, black], [texture(0)], [black]))
    assert seen.pairs == ()
    assert seen.splits["train"].constant == (0, 1) and seen.splits["test"].constant == (3,)


def test_many_copies_give_few_pairs_and_still_every_leak(memory, texture):
    image = texture(0)
    seen = audit(memory([image] * 20, [image] * 10, [image] * 10))
    assert len(seen.pairs) == 19 + (10 + 9) + (10 + 10 + 9)
    assert seen.leaking() == {"val": tuple(range(20, 30)), "test": tuple(range(30, 40))}


def test_what_is_near_one_copy_is_linked_with_the_copies_in_other_splits(memory, texture):
    image = texture(0)
    near = np.clip(image.astype(int) + 15, 0, 255).astype(np.uint8)
    pairs = found(memory([image], [near], [image.copy(), near.copy()]))
    assert {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)} <= set(pairs)
    assert pairs[0, 3].how == "equal to images that were compared"


def test_many_relatives_in_test_never_hide_the_one_in_train(memory, texture):
    image = texture(0).astype(int)
    film = [np.clip(image + shift, 0, 255).astype(np.uint8) for shift in range(1, 26)]
    crop = texture(0)[4:140, 3:141]  # further from each frame than they are from each other
    pairs = found(memory([crop], [], film))
    assert all((0, frame) in pairs for frame in range(1, 26))


def test_a_leak_is_an_image_that_any_earlier_split_shows(memory, texture):
    one, two = texture(0), texture(1)
    dataset = memory([one, texture(2)], [two, texture(3)], [two[::-1].copy(), one, texture(4)])
    assert leaks(dataset) == {"val": (), "test": (4, 5)}


def test_findings_do_not_depend_on_the_order_inside_a_split(memory, texture):
    images = [texture(s) for s in range(12)]
    copy = np.clip(images[3].astype(int) + 12, 0, 255).astype(np.uint8)
    forward = audit(memory(images, [], [copy])).pairs
    backward = audit(memory(images[::-1], [], [copy])).pairs
    assert [(p.first, p.score) for p in forward] == [
        (Case(split="train", id=3), pytest.approx(backward[0].score, abs=1e-4))
    ]
    assert backward[0].first.id == 8


def test_different_labels_of_one_image_are_a_conflict(memory, texture):
    image = texture(0)
    pairs = found(memory([image, texture(1)], [image], [image], targets=[0, 1, 1, 0]))
    assert pairs[0, 2].conflicting and pairs[0, 2].agreement == 0
    assert not pairs[0, 3].conflicting and pairs[0, 3].agreement == 1


def test_several_labels_at_once_conflict_where_one_differs(memory, texture):
    image = texture(0)
    targets = [np.array([1, 0, 1]), np.array([1, 0, 1]), np.array([1, 1, 1])]
    dataset = memory([image], [image], [image], targets=targets, classes=("a", "b", "c"))
    pairs = found(dataset)
    assert not pairs[0, 1].conflicting and pairs[0, 2].conflicting
    assert audit(dataset).splits["test"].classes == {"a": 1, "b": 1, "c": 1}


def test_masks_are_compared_after_what_turns_one_image_into_the_other(memory, texture):
    image = texture(0)
    mask = np.zeros((144, 144), np.uint8)
    mask[20:60, 30:50] = 1
    elsewhere = np.roll(mask, 60, axis=0)
    images = [image, image[:, ::-1].copy(), image]
    dataset = memory(
        images[:1], images[1:2], images[2:], [mask, mask[:, ::-1], elsewhere], kind="masks"
    )
    pairs = found(dataset)
    assert pairs[0, 1].agreement == pytest.approx(1) and not pairs[0, 1].conflicting
    assert pairs[0, 2].agreement == 0 and pairs[0, 2].conflicting


def test_a_mask_of_a_crop_agrees_with_the_part_of_the_whole_mask(memory, texture):
    image, mask = texture(0, 200), np.zeros((200, 200), np.uint8)
    mask[50:120, 60:150] = 1
    whole, part = image, (slice(8, 194), slice(10, 198))
    dataset = memory([whole], [], [image[part]], [mask, mask[part]], kind="masks")
    (pair,) = audit(dataset).pairs
    assert pair.agreement > 0.97 and "% of the first's height" in pair.how
