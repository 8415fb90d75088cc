"""Forward passes in chunks of one size, operations and parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from omnibench.forward import CHUNK, chunks, flops_per_image, in_chunks, parameter_counts
from omnibench.interfaces import RunContext


class Told:
    """Remembers what the progress was told."""

    def __init__(self) -> None:
        self.total = self.steps = 0

    def start(self, label: str, total: int) -> None:
        self.total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += steps


class Net(nn.Module):
    """A convolution, batch norm, dropout and a linear layer: 3 x 8 x 8 to 5 features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.seen: list[int] = []
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(4 * 36, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return self.layers(x)


IMAGES = torch.randint(0, 256, (2 * CHUNK, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_chunks_are_filled_up_with_the_last_sample(count):
    index = torch.arange(count) * 3
    parts = list(chunks(index))
    assert torch.equal(torch.cat([part for part, _ in parts]), index)
    for part, filled in parts:
        assert len(filled) == CHUNK
        assert torch.equal(filled[: len(part)], part)
        assert (filled[len(part) :] == part[-1]).all()


@pytest.mark.parametrize("count", [1, CHUNK + 1, 2 * CHUNK - 1])
def test_every_pass_has_one_size_and_no_result_depends_on_the_number_of_images(count):
    net = Net().eval()
    whole, _ = in_chunks(net, IMAGES, RunContext(seed=0), "encoding")
    net.seen.clear()
    told = Told()
    found, speed = in_chunks(net, IMAGES[:count], RunContext(seed=0, progress=told), "encoding")
    assert torch.equal(found, whole[:count])
    assert set(net.seen) == {CHUNK} and speed > 0
    assert (told.total, told.steps) == (count, count)


def test_grey_images_are_seen_as_rgb_in_0_to_1():
    grey = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    found, _ = in_chunks(lambda x: x.flatten(1), grey, RunContext(seed=0), "encoding")
    assert torch.allclose(found, torch.tensor([0.0, 0.2, 1.0])[:, None].expand(3, 3))


def test_operations_are_counted_without_changing_the_module():
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    # a 3x3 convolution on 6x6 positions and a linear layer, 2 a multiply-add
    assert flops_per_image(net, 8, "cpu") == 2 * 36 * 4 * 27 + 2 * 4 * 36 * 5
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training and net.seen == [1]


def test_parameters_are_counted_with_and_without_the_frozen_ones():
    net = Net()
    net.layers[0].requires_grad_(False)
    total = 3 * 4 * 9 + 2 * 4 + 4 * 36 * 5 + 5
    assert parameter_counts(net) == (total, total - 3 * 4 * 9)
