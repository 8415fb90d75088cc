"""What a split must give before it becomes a batch, and that it stays what it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from omnibench.errors import IntegrityError
from omnibench.loading import resized_images, resized_mask

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


@dataclasses.dataclass
class ListSplit:
    """A split of given images; ids are 10, 11, … unless given."""

    images: list[Any]
    targets: list[Any] = dataclasses.field(default_factory=list)
    ids: Any = None
    groups: Any = None

    def __post_init__(self) -> None:
        if self.ids is None:
            self.ids = np.arange(10, 10 + len(self.images), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        return self.images[index]

    def target(self, index: int) -> Any:
        return self.targets[index]


def resized(*images: Any, size: int = 8, **split: Any) -> torch.Tensor:
    return resized_images(ListSplit(list(images), **split), size, antialias=False)


@pytest.mark.parametrize(
    "image",
    [
        GREY.astype(np.uint16),
        GREY.astype(np.int64),
        GREY.astype(np.int8),
        GREY > 3,
        GREY[None],
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((0, 8), np.uint8),
        np.zeros(8, np.uint8),
    ],
    ids=lambda image: f"{image.dtype}-{image.shape}",
)
def test_an_image_of_another_type_or_shape_is_refused_and_named(image: np.ndarray) -> None:
    found = rf"image 1 of the split \(id 11\) is {image.dtype} \[{', '.join(map(str, image.shape))}"
    with pytest.raises(IntegrityError, match=found):
        resized(GREY, image)


@pytest.mark.parametrize("value", [200.0, 1.001, -0.001, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_float_outside_its_range_is_refused_and_named(value: float, dtype: type) -> None:
    image = np.full((8, 8, 3), 0.5, dtype)
    image[3, 4, 1] = value
    with pytest.raises(IntegrityError, match=r"image 0 .*id 10.* scale floating-point images"):
        resized(image)


def test_uint8_and_floats_in_range_pass_unchanged() -> None:
    assert torch.equal(resized(GREY, GREY.T.copy())[:, 0], torch.tensor(np.stack([GREY, GREY.T])))
    for dtype in (np.float16, np.float32, np.float64):
        image = np.stack([GREY / 63] * 3, axis=-1).astype(dtype)
        out = resized(image)
        assert (out.dtype, out.shape) == (torch.float32, (1, 3, 8, 8))
        assert np.array_equal(out[0].permute(1, 2, 0).numpy(), image.astype(np.float32))


def test_grey_and_colour_and_bytes_and_floats_mix_in_one_split() -> None:
    colour = np.stack([GREY, GREY * 2, GREY * 3], axis=-1)
    out = resized(GREY, colour, (GREY / 255).astype(np.float32))
    assert (out.dtype, out.shape) == (torch.float32, (3, 3, 8, 8))
    assert out[1].permute(1, 2, 0).numpy() == pytest.approx(colour / 255, abs=1e-6)
    for row in (0, 2):
        for channel in range(3):
            assert out[row, channel].numpy() == pytest.approx(GREY / 255, abs=1e-6)


def test_shrinking_by_half_averages_pairs() -> None:
    # align_corners=False puts each new centre between two old ones.
    out = resized(GREY.astype(np.float32) / 64, size=4)[0, 0].numpy()
    blocks = GREY.reshape(4, 2, 4, 2).mean(axis=(1, 3)) / 64
    assert out == pytest.approx(blocks, abs=1e-6)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"ids": np.array([1, 2], np.int32)}, r"the ids .* 2 samples are int32 \[2\]"),
        ({"ids": np.array([1.0, 2.0])}, r"the ids .* are float64 \[2\]"),
        ({"ids": np.array([1, 2, 3])}, r"the ids of a split of 2 samples are int64 \[3\]"),
        ({"ids": np.array([2, 1])}, "do not ascend strictly"),
        ({"ids": np.array([4, 4])}, "do not ascend strictly"),
        ({"groups": np.array([1])}, r"the groups of a split of 2 samples are int64 \[1\]"),
        ({"groups": np.array(["a", "b"])}, r"the groups .* are <U1 \[2\]"),
    ],
)
def test_ids_and_groups_that_break_the_contract_are_refused(
    split: dict[str, Any], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        resized(GREY, GREY, **split)


def test_groups_may_repeat_and_need_no_order() -> None:
    assert len(resized(GREY, GREY, groups=np.array([7, 7]))) == 2
    assert len(resized(GREY, GREY, groups=np.array([7, -1]))) == 2


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(IntegrityError, match="without images"):
        resized()


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((8, 8), np.int64),
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8), np.bool_),
        np.zeros((8, 7), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.uint8(1),
    ],
    ids=lambda mask: f"{mask.dtype}-{mask.shape}",
)
def test_a_mask_that_does_not_fit_its_image_is_refused_and_named(mask: Any) -> None:
    split = ListSplit([GREY, GREY], [np.zeros((8, 8), np.uint8), mask])
    with pytest.raises(IntegrityError, match=rf"mask 1 .*id 11\) is {mask.dtype} .*\[8, 8\]"):
        resized_mask(split, 1, 4)


def test_masks_keep_their_classes_when_resized() -> None:
    mask = np.kron(np.array([[0, 1], [2, 5]], np.uint8), np.ones((4, 4), np.uint8))
    colour = np.zeros((8, 8, 3), np.uint8)
    for index in range(2):
        out, values = resized_mask(ListSplit([GREY, colour], [mask, mask]), index, 2)
        assert out.tolist() == [[0, 1], [2, 5]]
        assert values.nonzero().flatten().tolist() == [0, 1, 2, 5]


def test_values_that_shrinking_loses_are_still_told() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[3, 3] = 7
    out, values = resized_mask(ListSplit([GREY], [mask]), 0, 2)
    assert not out.any() and values[7]
