"""The embedded default: real slices, honest splits."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omnibench.cards import DataAccess
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets import mni152
from omnibench_plugins.datasets.mni152_slices import GAP, MIDLINE, describe, read_volume, slices

CARDS = {card.name: card for card in mni152.cards()}
SPLITS = ("train", "val", "test")


def opened(name: str) -> Dataset:
    return CARDS[name].open(DataAccess(root=Path("/nowhere"), offline=True))


def test_tissue_shares_are_those_measured_for_the_specification() -> None:
    # data_and_weights.md section 1: 78.3 / 2.0 / 12.4 / 7.3 % of the voxels.
    tissue = read_volume().tissue
    shares = np.bincount(tissue.ravel(), minlength=4) / tissue.size * 100
    assert shares == pytest.approx([78.3, 2.0, 12.4, 7.3], abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_usable_slices_lie_where_the_specification_found_them(axis: int) -> None:
    # data_and_weights.md section 1: sagittal 29-167, coronal 34-202, axial 11-148.
    first, last = [(29, MIDLINE - 1), (34, 202), (11, 148)][axis]
    positions = [s.position for s in slices(read_volume(), axis)]
    assert positions[0] == first
    assert last - GAP <= positions[-1] <= last


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_different_splits_are_never_neighbours(axis: int) -> None:
    for one, other in itertools.combinations(slices(read_volume(), axis), 2):
        if one.split != other.split:
            assert abs(one.position - other.position) > GAP


def test_every_split_sees_low_middle_and_high_slices() -> None:
    dataset = opened("mni152-tissue")
    for name in SPLITS:
        ids = dataset.split(name).ids
        assert ids.min() < 60 < ids.max()
        groups = dataset.split(name).groups
        assert groups is not None and len(np.unique(groups)) == 3


@pytest.mark.parametrize("name", CARDS)
def test_splits_have_the_sizes_of_the_card_and_share_nothing(name: str) -> None:
    dataset = opened(name)
    splits = [dataset.split(split) for split in SPLITS]
    assert tuple(len(split) for split in splits) == CARDS[name].split_sizes
    for one, other in itertools.combinations(splits, 2):
        assert not set(one.ids) & set(other.ids)
        assert one.groups is not None and other.groups is not None
        assert not set(one.groups) & set(other.groups)
        seen = {one.image(i).tobytes() for i in range(len(one))}
        assert not seen & {other.image(i).tobytes() for i in range(len(other))}
    for split in splits:
        assert (np.diff(split.ids) > 0).all()


def test_masks_lie_on_the_brain_and_hold_all_four_classes() -> None:
    dataset = opened("mni152-tissue")
    for name in SPLITS:
        split = dataset.split(name)
        for index in range(len(split)):
            image, mask = split.image(index), split.target(index)
            assert image.shape == mask.shape == (233, 197)
            assert np.array_equal(image > 0, mask > 0)
            assert (mask >= 2).sum() >= 1500
            # White matter is the brighter tissue in T1, fluid the darkest.
            assert image[mask == 3].mean() > image[mask == 2].mean() > image[mask == 1].mean()


def test_planes_are_all_in_every_split_and_squares_hide_their_outline() -> None:
    dataset = opened("mni152-plane")
    assert dataset.classes == ("axial", "coronal", "sagittal")
    for name in SPLITS:
        split = dataset.split(name)
        assert {split.target(i) for i in range(len(split))} == {0, 1, 2}
        assert {split.image(i).shape for i in range(len(split))} == {(233, 233)}


def test_sagittal_slices_come_from_one_hemisphere() -> None:
    # The template's halves are mirror twins: both together would leak.
    image = read_volume().image
    assert np.array_equal(image[:MIDLINE], image[MIDLINE + 1 :][::-1])
    assert max(s.position for s in slices(read_volume(), axis=0)) < MIDLINE


def test_the_tissue_card_offers_planes_and_text_to_tasks_that_need_them() -> None:
    views = [(view.name, view.kind) for view in CARDS["mni152-tissue"].views]
    assert views == [("mni152-plane", "labels"), ("mni152-caption", "captions")]


def test_template_text_says_plane_place_and_tissue_of_its_slice() -> None:
    planes, captions = opened("mni152-plane"), opened("mni152-caption")
    for name in SPLITS:
        plane, caption = planes.split(name), captions.split(name)
        assert np.array_equal(plane.ids, caption.ids)
        assert np.array_equal(plane.image(7), caption.image(7))
        for index in range(len(caption)):
            (text,) = caption.target(index)
            assert text.startswith(f"{planes.classes[plane.target(index)].capitalize()} slice, ")
    volume = read_volume()
    low, high = (
        next(s for s in slices(volume, axis=2) if s.position >= start) for start in (11, 120)
    )
    assert describe(volume, low).startswith("Axial slice, lower third: 75 percent grey, ")
    tissue = volume.tissue[:, :, high.position]
    grey, white = (5 * round(20 * (tissue == n).sum() / (tissue > 0).sum()) for n in (2, 3))
    assert describe(volume, high) == (
        f"Axial slice, upper third: {grey} percent grey, {white} percent white matter."
    )


def test_template_text_is_called_that_everywhere() -> None:
    card, dataset = CARDS["mni152-caption"], opened("mni152-caption")
    assert "template text" in card.notes and "template text" in dataset.facts["caution"]
    texts = {dataset.split(name).target(i)[0] for name in SPLITS for i in range(50)}
    assert len(texts) > 50


@pytest.mark.parametrize("name", CARDS)
def test_notice_and_caution_travel_with_card_and_records(name: str) -> None:
    card, facts = CARDS[name], opened(name).facts
    assert card.embedded
    for text in (card.notes, facts["notice"]):
        assert "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre" in text
    assert "never a ranking" in card.notes and "never a ranking" in facts["caution"]


def test_the_digest_is_the_same_in_another_process_and_nilearn_is_not_imported() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from omnibench.cards import DataAccess\n"
        "from omnibench_plugins.datasets import mni152\n"
        "opened = mni152.cards()[0].open(DataAccess(root=Path('/nowhere')))\n"
        "print(opened.digest, 'nilearn' in sys.modules, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [opened("mni152-tissue").digest, "False", "False"]
    assert opened("mni152-tissue").digest != opened("mni152-plane").digest
