"""Crops and augmentation: replayable, with the probabilities that are stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from omnirad.data import photometric, reddino
from omnirad.data.augmentation import POLICIES, DinoV2, Policy, Radiology
from omnirad.data.crops import MEAN, STD, Box, normalised, random_box, resized

DRAWS = 4000
# Three standard errors of a share of DRAWS.
MARGIN = 3 * math.sqrt(0.25 / DRAWS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(size: int = 56, colour: bool = False, seed: int = 5) -> np.ndarray:
    """A smooth picture, float32 [S, S] or [S, S, 3] in [0, 1]."""
    from scipy import ndimage

    shape = (size, size, 3) if colour else (size, size)
    rough = rng(seed).random(shape)
    smooth = ndimage.gaussian_filter(rough, (3, 3, 0)[: len(shape)])
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return scaled.astype(np.float32)


# --- crops ----------------------------------------------------------------------------


def test_a_crop_has_an_area_and_a_ratio_within_the_limits() -> None:
    generator = rng()
    boxes = [random_box(400, 500, generator) for _ in range(2000)]
    shares = np.array([box.height * box.width / (400 * 500) for box in boxes])
    ratios = np.array([box.width / box.height for box in boxes])
    assert 0.315 < shares.min() < 0.33 and 0.97 < shares.max() <= 1
    assert 0.74 < ratios.min() < 0.76 and 1.31 < ratios.max() < 1.35
    assert all(0 <= b.top <= 400 - b.height and 0 <= b.left <= 500 - b.width for b in boxes)


def test_boxes_are_distributed_as_torchvisions() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(1, 300, 420)
    theirs = [RandomResizedCrop.get_params(image, (0.32, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)]
    generator = rng()
    ours = [random_box(300, 420, generator) for _ in range(3000)]
    from scipy import stats

    for column in range(4):
        test = stats.ks_2samp([t[column] for t in theirs], [o[column] for o in ours])
        assert test.pvalue > 0.001


def test_an_image_too_long_for_any_box_gives_its_centre() -> None:
    box = random_box(10, 1000, rng())
    assert box == Box(0, (1000 - 13) // 2, 10, 13)  # 10 × 4/3, as torchvision falls back


def test_resizing_is_bicubic_and_antialiased_as_pillows() -> None:
    from PIL import Image

    image = (picture(200) * 255).astype(np.uint8)
    ours = resized(image, Box(20, 10, 150, 180), 56, 56)
    part = Image.fromarray(image).crop((10, 20, 190, 170))
    theirs = part.resize((56, 56), Image.Resampling.BICUBIC)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_colours_keep_their_order_and_get_the_statistics_of_their_channel() -> None:
    red = np.zeros((30, 30, 3), dtype=np.uint8)
    red[..., 0] = 255
    crop = resized(red, Box(0, 0, 30, 30), 14, 14)
    assert crop[..., 0].min() == 255 and crop[..., 1:].max() == 0
    # pretraining.md section 6: grey 0.5 must become (0.066, 0.196, 0.418), not its reverse.
    half = normalised(torch.full((1, 1, 2, 2), 128, dtype=torch.uint8)) - (
        0.5 / 255
    ) / torch.tensor(STD).view(1, 3, 1, 1)
    assert half.shape == (1, 3, 2, 2)
    assert [round(float(v), 3) for v in half[0, :, 0, 0]] == [0.066, 0.196, 0.418]
    assert (MEAN, STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# --- policies -------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("view", [0, 1])
def test_a_policy_is_a_function_of_crop_and_generator(name: str, view: int) -> None:
    policy = POLICIES[name]
    crop = picture(colour=not policy.grey)
    before = crop.copy()
    for seed in range(60):
        first = policy(crop, rng(seed), view, "US")
        again = policy(crop, rng(seed), view, "US")
        assert (first == again).all()
        assert first.shape == crop.shape and first.dtype == np.float32
        assert first.min() >= 0 and first.max() <= 1
    assert (crop == before).all()
    assert (policy(crop, rng(1), view, "") != policy(crop, rng(2), view, "")).any()


OFF: dict[str, Any] = {
    "flip": 0.0, "rotate": 0.0, "window": 0.0, "jitter": 0.0, "low_resolution": 0.0, "blur": 0.0,
    "noise": 0.0, "speckle": 0.0,
}  # fmt: skip


def share_changed(policy: Policy, view: int = 0, modality: str = "") -> float:
    crop, generator = picture(14), rng(3)
    changed = [(policy(crop, generator, view, modality) != crop).any() for _ in range(DRAWS)]
    return float(np.mean(changed))


@pytest.mark.parametrize(
    ("field", "probability"),
    # pretraining.md section 6, last column.
    [("flip", 0.5), ("rotate", 0.3), ("window", 0.3), ("jitter", 0.8), ("low_resolution", 0.2),
     ("blur", 0.5), ("noise", 0.2)],
)  # fmt: skip
def test_radiology_applies_each_operation_as_often_as_stated(
    field: str, probability: float
) -> None:
    assert getattr(Radiology(), field) == probability
    only: dict[str, Any] = {**OFF, field: probability}
    # A narrow blur changes nothing that float32 could show at 14 pixels, and would not be counted.
    policy = replace(Radiology(), **only, sigma=(16.0, 32.0))
    assert abs(share_changed(policy) - probability) < MARGIN


def test_radiology_without_any_operation_changes_nothing() -> None:
    assert share_changed(replace(Radiology(), **OFF)) == 0


def test_speckle_is_for_ultrasound_only() -> None:
    only = replace(Radiology(), **{**OFF, "speckle": 0.2})
    assert abs(share_changed(only, modality="US") - 0.2) < MARGIN
    assert share_changed(only, modality="CT") == 0 == share_changed(only)


def test_inverting_is_an_option_and_solarising_is_not_done() -> None:
    assert Radiology().invert == 0
    assert not hasattr(Radiology(), "solarize")
    inverting = replace(Radiology(), **{**OFF, "invert": 0.1})
    assert abs(share_changed(inverting) - 0.1) < MARGIN


def counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> Counter[str]:
    """Count the calls of operations."""
    calls: Counter[str] = Counter()
    for name in names:
        original = getattr(photometric, name)

        def called(*args: Any, name: str = name, original: Callable[..., Any] = original) -> Any:
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(photometric, name, called)
    return calls


@pytest.mark.parametrize(
    ("view", "blur", "solarize"),
    # pretraining.md section 6: effective, not declared, probabilities.
    [(0, 0.0, 0.0), (1, 0.9, 0.2)],
)
def test_dinov2_blurs_as_often_as_it_really_did(
    monkeypatch: pytest.MonkeyPatch, view: int, blur: float, solarize: float
) -> None:
    calls = counted(monkeypatch, "gaussian_blur", "solarize", "without_colour", "hue")
    crop, generator = picture(14), rng(1)
    for _ in range(DRAWS):
        DinoV2()(crop, generator, view, "")
    assert abs(calls["gaussian_blur"] / DRAWS - blur) < MARGIN * (blur > 0) + 1e-12
    assert abs(calls["solarize"] / DRAWS - solarize) < MARGIN * (solarize > 0) + 1e-12
    assert abs(calls["without_colour"] / DRAWS - 0.2) < MARGIN
    assert abs(calls["hue"] / DRAWS - 0.8) < MARGIN


@pytest.mark.parametrize("view", [0, 1])
def test_colour_operations_do_nothing_to_grey(view: int) -> None:
    grey = picture()
    colour = np.repeat(grey[..., None], 3, axis=2)
    for seed in range(40):
        one = DinoV2()(grey, rng(seed), view, "")
        three = DinoV2()(colour, rng(seed), view, "")
        assert np.abs(three - one[..., None]).max() < 1e-5
    for operation in (photometric.saturation, photometric.hue):
        assert (operation(grey, 0.2) == grey).all()
        assert np.abs(operation(colour, 0.2) - colour).max() < 1e-6


def test_colour_operations_change_colour() -> None:
    colour = picture(colour=True)
    assert np.abs(photometric.hue(colour, 0.1) - colour).max() > 0.1
    faded = photometric.saturation(colour, 0.0)
    assert np.abs(faded - photometric.without_colour(colour)).max() < 1e-6
    from torchvision.transforms.v2 import functional as vision

    theirs = vision.adjust_saturation(torch.from_numpy(colour).permute(2, 0, 1), 1.2)
    ours = torch.from_numpy(photometric.saturation(colour, 1.2)).permute(2, 0, 1)
    # torchvision rounds the weights of luma to 0.2989, 0.587, 0.114.
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_reddino_like_applies_four_of_its_operations_with_its_probability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def recording(position: int) -> reddino.Operation:
        def record(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            calls.append(position)
            return x

        return record

    operations = tuple(recording(position) for position in range(len(reddino.OPERATIONS)))
    monkeypatch.setattr(reddino, "OPERATIONS", operations)
    crop, generator = picture(14), rng(2)
    numbers, unmoved = [], 0
    for _ in range(DRAWS):
        calls.clear()
        varied = POLICIES["reddino-like"](crop, generator, 0, "")
        assert len(set(calls)) == len(calls)
        numbers.append(len(calls))
        unmoved += bool((varied == crop).all())
    assert max(numbers) == 4
    assert abs(np.mean(numbers) / 4 - 0.85) < MARGIN
    # Unmoved: neither flipped nor turned, or two of the eight motions that are the identity.
    flips = 0.15 * 0.15, 0.85 * 0.85
    still = flips[0] * (0.15 + 0.85 / 4) + flips[1] * 0.85 / 4
    assert abs(unmoved / DRAWS - still) < MARGIN


@pytest.mark.parametrize("operation", reddino.OPERATIONS, ids=lambda f: f.__name__.strip("_"))
def test_every_operation_of_reddino_like_keeps_shape_and_range_and_does_something(
    operation: reddino.Operation,
) -> None:
    x = np.round(picture() * 255).astype(np.float32) / np.float32(255)
    outcomes = [operation(x, rng(seed)) for seed in range(8)]
    assert all(y.shape == x.shape and y.dtype == np.float32 for y in outcomes)
    assert all(y.min() >= 0 and y.max() <= 1 for y in outcomes)
    assert any(np.abs(y - x).max() > 1 / 255 for y in outcomes)


# --- operations -----------------------------------------------------------------------


def test_jitter_is_torchvisions() -> None:
    from torchvision.transforms.v2 import functional as vision

    x = picture()
    plane = torch.from_numpy(x)[None]
    for factor in (0.6, 1.4):
        for ours, theirs in (
            (photometric.brightness, vision.adjust_brightness),
            (photometric.contrast, vision.adjust_contrast),
            (photometric.gamma, vision.adjust_gamma),
        ):
            assert np.abs(ours(x, factor) - theirs(plane, factor)[0].numpy()).max() < 1e-5
    solarised = photometric.solarize(x, 0.5)
    assert np.abs(solarised - vision.solarize(plane, 0.5)[0].numpy()).max() < 1e-6


def test_a_blur_is_torchvisions_at_224_and_keeps_its_share_of_the_image() -> None:
    from torchvision.transforms.v2 import functional as vision

    x = picture(224)
    theirs = vision.gaussian_blur(torch.from_numpy(x)[None], [9, 9], [1.5, 1.5])[0].numpy()
    ours = photometric.gaussian_blur(x, 1.5)
    # The border is mirrored at the edge of pixels here, at their centres there.
    assert np.abs(ours - theirs)[8:-8, 8:-8].max() < 1e-5
    small = picture(56)
    spread = np.abs(photometric.gaussian_blur(small, 2.0) - small).max()
    assert 0 < spread < np.abs(photometric.gaussian_blur(small, 8.0) - small).max()


def test_a_window_stretches_what_lies_between_two_percentiles() -> None:
    ramp = np.linspace(0, 1, 56 * 56, dtype=np.float32).reshape(56, 56)
    shown = photometric.window(ramp, 10, 90)
    assert np.abs(shown - np.clip((ramp - 0.1) / 0.8, 0, 1)).max() < 1e-3
    flat = np.full((56, 56), 0.3, np.float32)
    assert (photometric.window(flat, 5, 95) == flat).all()


def test_turning_leaves_no_empty_corner_and_turns_back() -> None:
    white = np.ones((56, 56), np.float32)
    assert photometric.rotated(white, 15).min() > 0.999
    x = picture(112)
    back = photometric.rotated(photometric.rotated(x, 12), -12)
    assert np.abs(back - x)[30:-30, 30:-30].max() < 0.03
    quarter = photometric.rotated(x, 90)
    assert min(np.abs(quarter - np.rot90(x, turns)).max() for turns in (1, 3)) < 1e-3


def test_noise_has_the_strength_that_is_asked_for() -> None:
    grey = np.full((224, 224), 0.5, np.float32)
    assert abs(photometric.noise(grey, 0.05, rng()).std() - 0.05) < 0.001
    assert abs(photometric.speckle(grey, 0.1, rng()).std() - 0.05) < 0.001
    assert photometric.speckle(np.zeros((9, 9), np.float32), 0.1, rng()).max() == 0


def test_low_resolution_loses_detail_and_keeps_the_mean() -> None:
    x = picture(56)
    coarse = photometric.low_resolution(x, 0.3)
    assert abs(float(coarse.mean() - x.mean())) < 0.01
    assert np.abs(np.diff(coarse)).mean() < np.abs(np.diff(x)).mean()


def test_one_tile_without_limit_is_plain_equalisation() -> None:
    x = np.round(picture() * 255).astype(np.float32) / np.float32(255)
    levels = np.rint(x * 255).astype(int)
    curve = np.cumsum(np.bincount(levels.ravel(), minlength=256)) / levels.size
    assert np.abs(reddino.clahe(x, 1, 256.0) - curve[levels]).max() < 1e-5


def test_the_limit_of_local_equalisation_bounds_the_slope() -> None:
    x = np.round(picture(56, seed=9) * 20).astype(np.float32) / np.float32(255)
    steep = reddino.clahe(x, 1, 256.0)
    gentle = reddino.clahe(x, 1, 1.0)
    # At a limit of 1 at most the uniform share is left to any grey value, twice it with the rest.
    assert np.ptp(gentle) <= 2 * np.ptp(x) + 2 / 255 < np.ptp(steep)
