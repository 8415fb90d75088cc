"""Augmentation: pure, right in its geometry, equal to torchvision where images are smooth."""

import pytest
import torch

from omnibench.seeding import generator
from omnibench_plugins.tasks.cls import augment

SIZE = 64


def smooth(count, channels=1):
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    image = 0.5 + 0.2 * torch.sin(x / 9) + 0.2 * torch.cos(y / 7 + x / 15)
    return image.expand(count, channels, SIZE, SIZE).clone()


def fixed(flip=False, degrees=0.0, box=(0, 0, SIZE, SIZE)):
    return augment.Draw(torch.tensor([flip]), torch.tensor([degrees]), torch.tensor([box]))


def test_a_draw_depends_on_its_arguments_alone():
    torch.manual_seed(1)
    one = augment.draw(9, SIZE, generator("a", 0))
    torch.manual_seed(2)
    two = augment.draw(9, SIZE, generator("a", 0))
    other = augment.draw(9, SIZE, generator("a", 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.degrees, other.degrees)


def test_applying_a_draw_changes_neither_images_nor_global_randomness():
    images, drawn = (smooth(4) * 255).byte(), augment.draw(4, SIZE, generator("a", 0))
    before, state = images.clone(), torch.get_rng_state()
    first, second = augment.affine(images, drawn), augment.affine(images, drawn)
    augment.released(images, drawn)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)


def test_nothing_drawn_leaves_images_as_they_are():
    images = smooth(1)
    assert torch.allclose(augment.affine(images, fixed()), images, atol=1e-5)


def test_a_flip_mirrors_columns():
    images = smooth(1)
    assert torch.allclose(augment.affine(images, fixed(flip=True)), images.flip(-1), atol=1e-5)


def test_a_crop_is_enlarged_bilinearly_up_to_its_rim():
    images, box = smooth(1), (5, 2, 40, 50)
    patch = images[..., 2:52, 5:45]
    expected = torch.nn.functional.interpolate(patch, (SIZE, SIZE), mode="bilinear")
    found = augment.affine(images, fixed(box=box))
    # Inside, the two agree; at the rim the resampling may look past the crop, resizing may not.
    assert torch.allclose(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)
    assert (found - expected).abs().max() < 0.02


def test_a_whole_image_keeps_its_brightness_at_the_rim():
    bright = torch.ones(1, 1, SIZE, SIZE)
    assert torch.equal(augment.affine(bright, fixed(box=(0, 0, 60, 60))), bright)


def test_a_rotation_turns_counter_clockwise_and_uncovers_black_corners():
    image = torch.zeros(1, 1, SIZE, SIZE)
    image[..., 30:34, 56:60] = 1  # right of the centre: turned counter-clockwise it rises
    turned = augment.affine(image, fixed(degrees=7.0))
    rows = turned.sum(dim=(0, 1, 3))
    centre = float((rows * torch.arange(SIZE)).sum() / rows.sum())
    assert centre == pytest.approx(31.5 - 26 * 0.1219, abs=0.2)  # sin 7 degrees = 0.1219
    bright = augment.affine(torch.ones(1, 1, SIZE, SIZE), fixed(degrees=7.0))
    assert bright[0, 0, 0, 0] == 0 and bright[0, 0, 32, 32] == pytest.approx(1)


def test_one_resampling_agrees_with_torchvision_image_by_image():
    images, drawn = smooth(40), augment.draw(40, SIZE, generator("a", 0))
    one, two = augment.affine(images, drawn), augment.released(images, drawn)
    inside = (one > 0) & (two > 0)
    # Nearest-neighbour rotation displaces by half a pixel at most; the slope is below 0.05.
    assert (one - two).abs()[inside].median() < 0.01
    assert (one - two).abs()[..., 12:-12, 12:-12].max() < 0.04
    # The same comparison must see a rotation the wrong way round, or a missed flip.
    for wrong in (
        drawn._replace(degrees=-drawn.degrees),
        drawn._replace(flip=~drawn.flip),
        drawn._replace(box=drawn.box[:, [1, 0, 2, 3]]),
    ):
        off = (augment.affine(images, wrong) - two).abs()[..., 12:-12, 12:-12]
        assert off.max() > 0.08


def test_bytes_and_floats_give_the_same_picture():
    images, drawn = (smooth(3) * 255).byte(), augment.draw(3, SIZE, generator("a", 0))
    as_float = images.float() / 255
    assert torch.allclose(augment.affine(images, drawn), augment.affine(as_float, drawn))
    assert augment.released(images, drawn).dtype == torch.uint8


def test_colour_channels_are_moved_together():
    drawn = augment.draw(3, SIZE, generator("a", 0))
    grey, colour = augment.affine(smooth(3), drawn), augment.affine(smooth(3, 3), drawn)
    assert torch.equal(grey.expand(-1, 3, -1, -1), colour)


def test_draws_have_the_distribution_of_torchvision():
    from torchvision.transforms.v2 import RandomResizedCrop

    drawn = augment.draw(4000, 224, generator("a", 0))
    left, top, width, height = drawn.box.float().unbind(dim=1)
    assert drawn.flip.float().mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.degrees.min() < -6.9 and drawn.degrees.max() > 6.9
    assert drawn.degrees.abs().max() <= 7
    assert (left + width).max() <= 224 and (top + height).max() <= 224
    torch.manual_seed(0)
    crop, blank = RandomResizedCrop(224, scale=(0.85, 1.0)), torch.zeros(1, 224, 224)
    theirs = [crop.make_params([blank]) for _ in range(2000)]
    for ours, name in ((width, "width"), (height, "height"), (left, "left"), (top, "top")):
        values = torch.tensor([float(p[name]) for p in theirs])
        assert ours.mean() == pytest.approx(float(values.mean()), abs=0.6)
        assert ours.std() == pytest.approx(float(values.std()), abs=0.6)
