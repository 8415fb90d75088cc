"""Batches are functions of (seed, step, rank): they can be taken up anywhere, by anybody."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from omnirad.data.batches import PretrainBatches
from omnirad.data.decoding import luma
from omnirad.data.files import open_folder
from omnirad.data.mixture import Mixture
from omnirad.data.packing import pack
from omnirad.data.sampling import balanced, quotas, uniform
from omnirad.data.sources import Source, stratum_codes
from omnirad.errors import DataError, UsageError


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Seventeen images in two folders; the second holds colour."""
    rng = np.random.default_rng(0)
    for folder, count in (("many", 13), ("few", 4)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            shape = (20 + number, 24) + ((3,) if folder == "few" else ())
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number:02d}.png")
    return Mixture([open_folder(tmp_path / "many"), open_folder(tmp_path / "few")])


def batches(source: Source, **changed: Any) -> PretrainBatches:
    return PretrainBatches(source, **{"batch_size": 3, "crop_size": 14, "seed": 7, **changed})


# --- order ----------------------------------------------------------------------------


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    first, again, next_, other = (
        uniform(50, seed, epoch).indices for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert sorted(first) == list(range(50))
    assert (first == again).all()
    assert (first != next_).any() and (first != other).any()
    assert set(uniform(50, 1, 4).passes) == {4}


def test_strata_are_seen_in_proportion_to_the_root_of_their_size() -> None:
    # √10000 : √100 : √1 = 100 : 10 : 1.
    assert quotas(np.array([10000, 100, 1])) == [9100, 910, 91]
    assert sum(quotas(np.array([7, 5, 3]))) == 15
    codes = np.repeat([0, 1, 2], [900, 90, 10])
    shown = Counter(codes[balanced(codes, seed=0, epoch=0).indices].tolist())
    assert [shown[s] for s in range(3)] == quotas(np.array([900, 90, 10]))


def test_no_image_is_drawn_again_before_all_of_its_stratum_were() -> None:
    codes = np.repeat([0, 1], [40, 5])
    seen: Counter[int] = Counter()
    for epoch in range(6):
        order = balanced(codes, seed=3, epoch=epoch)
        assert len(order.indices) == len(codes)
        for index, number in sorted(
            zip(order.indices.tolist(), order.passes.tolist(), strict=True), key=lambda p: p[1]
        ):
            # The pass is how often this image came before: no two draws of it are alike.
            assert number == seen[index]
            seen[index] += 1
        for stratum in range(2):
            counts = [seen[index] for index in np.flatnonzero(codes == stratum)]
            assert max(counts) - min(counts) <= 1


# --- batches --------------------------------------------------------------------------


def test_a_batch_holds_all_first_crops_and_then_all_second_ones(source: Source) -> None:
    class Marking:
        grey = True

        def __call__(self, crop: Any, rng: Any, view: int, modality: str) -> Any:
            return np.full_like(crop, view * 0.5 + 0.25 * float(crop.mean() > 2))

    crops = batches(source, policy=Marking()).batch(0)
    assert crops.dtype == torch.uint8 and crops.shape == (6, 1, 14, 14)
    assert crops[:3].max() == 0 and crops[3:].min() == 128


def test_both_crops_show_the_same_image_in_the_order_of_the_epoch(source: Source) -> None:
    class Nothing:
        grey = True

        def __call__(self, crop: Any, rng: Any, view: int, modality: str) -> Any:
            return crop

    whole = batches(source, policy=Nothing(), crop_scale=(1.0, 1.0), batch_size=17).batch(0)
    order = uniform(17, 7, 0).indices
    for row, index in enumerate(order):
        mean = luma(source.image(int(index))).mean()
        for crop in (whole[row], whole[17 + row]):
            # An area of one is nearly the whole image.
            assert abs(float(crop.float().mean()) - mean) < 6


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
@pytest.mark.parametrize("policy", ["radiology", "dinov2"])
def test_workers_change_nothing_and_any_step_can_be_the_first(
    source: Source, sampling: str, policy: str
) -> None:
    whole = list(batches(source, sampling=sampling, policy=policy).stream(0, 12))
    assert len(whole) == 12
    assert len({crops.numpy().tobytes() for crops in whole}) == 12
    later = list(batches(source, sampling=sampling, policy=policy).stream(7, 12, workers=2))
    assert all(torch.equal(a, b) for a, b in zip(whole[7:], later, strict=True))
    again = batches(source, sampling=sampling, policy=policy)
    assert all(torch.equal(again.batch(step), whole[step]) for step in (11, 2, 5))


def test_ranks_share_an_epoch_without_an_overlap(source: Source) -> None:
    class Index:
        grey = True

        def __call__(self, crop: Any, rng: Any, view: int, modality: str) -> Any:
            return crop

    seen = []
    for rank in range(2):
        part = batches(source, rank=rank, world=2, batch_size=4, policy=Index())
        assert part.steps_per_epoch == 17 // 8
        order = uniform(17, 7, 0).indices
        for step in range(part.steps_per_epoch):
            wanted = order[(step * 2 + rank) * 4 : (step * 2 + rank) * 4 + 4]
            one = batches(source, batch_size=1, policy=Index())
            places = [int(np.flatnonzero(order == index)[0]) for index in wanted]
            expected = torch.cat([one.batch(place)[:1] for place in places])
            assert torch.equal(part.batch(step)[:4], expected)
            seen += wanted.tolist()
    assert len(set(seen)) == len(seen) == 16


def test_epochs_and_seeds_differ(source: Source) -> None:
    one = batches(source, batch_size=17)
    other = batches(source, batch_size=17, seed=8)
    mixed = [crops.sum().item() for crops in (one.batch(0), one.batch(1), other.batch(0))]
    assert len(set(mixed)) == 3


def test_an_image_drawn_twice_in_an_epoch_is_cropped_differently(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for folder, count in (("many", 30), ("one", 1)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    source = Mixture([open_folder(tmp_path / "many"), open_folder(tmp_path / "one")])
    codes, _ = stratum_codes(source)
    repeated = [
        place
        for place, index in enumerate(balanced(codes, 7, 0).indices)
        if source.sample(int(index)).source == "one"
    ]
    assert len(repeated) > 2
    crops = batches(source, batch_size=31, sampling="balanced").batch(0)
    assert len({crops[place].numpy().tobytes() for place in repeated}) == len(repeated)


def test_packed_images_give_the_batches_of_the_images_they_were_made_from(
    tmp_path: Path, source: Source
) -> None:
    packed = pack(source, tmp_path / "packed", encoding="raw")
    for sampling in ("uniform", "balanced"):
        loose = batches(source, sampling=sampling).batch(4)
        assert torch.equal(batches(packed, sampling=sampling).batch(4), loose)


def test_policies_of_colour_give_three_channels_and_keep_red_first(tmp_path: Path) -> None:
    red = np.zeros((20, 20, 3), dtype=np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "grey.png")
    crops = batches(open_folder(tmp_path), batch_size=2, policy="dinov2").batch(0)
    assert crops.shape == (4, 3, 14, 14)
    for crop in crops:
        red_mean, green_mean, blue_mean = crop.float().mean(dim=(1, 2))
        assert red_mean >= max(green_mean, blue_mean)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_on_the_way_is_named_with_and_without_workers(
    source: Source, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "few" / "02.png").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"^02\.png cannot be read as PNG or JPEG"):
        list(batches(source, batch_size=17).stream(0, 1, workers=workers))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"policy": "dino"}, "no policy 'dino'; policies are radiology, dinov2, reddino-like"),
        ({"sampling": "plain"}, "no sampling 'plain'; it is uniform or balanced"),
        ({"batch_size": 9, "world": 2}, "17 images do not fill one batch of 9 in each of 2"),
        ({"rank": 1}, "rank 1 of 1 processes cannot be meant"),
        ({"seed": -1}, "seed -1"),
        ({"crop_scale": (0.5, 1.5)}, "0 < low <= high <= 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    source: Source, changed: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        batches(source, **changed)
