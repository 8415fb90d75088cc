"""Test 11: stochastic depth with one rate, drawn by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omnirad.drop_path import KEEP_ALL, DropPath, draw_drop_path
from omnirad.randomness import torch_generator


def draw(rate: float, mode, branches: int = 24, samples: int = 10, step: int = 0) -> DropPath:
    return draw_drop_path(
        rate,
        mode,
        branches=branches,
        samples=samples,
        generator=torch_generator("drop path", 0, step, 0),
        device=torch.device("cpu"),
    )


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_a_subset_has_exactly_the_share_that_is_kept():
    for samples, rate, kept in ((10, 0.3, 7), (512, 0.3, 358), (3, 0.9, 1), (1, 0.5, 1)):
        found = draw(rate, "subset", samples=samples).kept
        assert found.shape == (24, kept)
        assert all(len(set(row.tolist())) == kept for row in found)


def test_only_the_subset_is_computed_and_the_rest_passes_unchanged():
    seen = []

    def branch(x: Tensor) -> Tensor:
        seen.append(len(x))
        return torch.ones_like(x)

    plan = draw(0.3, "subset")
    x = torch.zeros(10, 2, 3)
    y = plan.add(x, branch, 5)
    assert seen == [7]
    scaled = y[plan.kept[5]]
    assert torch.allclose(scaled, torch.full_like(scaled, 10 / 7))
    assert y.count_nonzero() == 7 * 6


@pytest.mark.parametrize("mode", ["subset", "sample"])
def test_the_expectation_of_a_branch_is_kept(mode):
    """10 000 draws: the mean factor of a branch has a standard error of 0.0021."""
    plan = draw(0.3, mode, branches=10_000, samples=10)
    x = torch.ones(10, 1, 1)
    total = sum(plan.add(x, torch.ones_like, i) - x for i in range(10_000)) / 10_000
    assert torch.allclose(total, torch.ones_like(total), atol=0.035)
    assert float(total.mean()) == pytest.approx(1, abs=0.007)


@pytest.mark.parametrize("mode", ["subset", "sample"])
def test_every_block_has_the_same_rate(mode):
    """timm's own would ramp up from zero."""
    plan = draw(0.3, mode, samples=5000)
    x = torch.zeros(5000, 1, 1)
    dropped = [float((plan.add(x, torch.ones_like, i) == 0).float().mean()) for i in range(24)]
    assert dropped == pytest.approx([0.3] * 24, abs=0.03)


def test_draws_are_a_function_of_position():
    assert torch.equal(draw(0.3, "subset").kept, draw(0.3, "subset").kept)
    assert not torch.equal(draw(0.3, "subset").kept, draw(0.3, "subset", step=1).kept)


def test_without_a_rate_nothing_is_drawn_and_the_sum_is_exact():
    x = torch.randn(4, 2, 3)
    assert draw(0.0, "subset") is KEEP_ALL
    assert torch.equal(KEEP_ALL.add(x, double, 0), x + 2 * x)


@pytest.mark.parametrize("mode", ["subset", "sample"])
def test_gradients_reach_a_branch_through_its_kept_samples_only(mode):
    plan = draw(0.3, mode)
    factor = torch.ones(10, 1, 1, requires_grad=True)
    x = torch.ones(10, 2, 3)
    rows = plan.kept[0] if mode == "subset" else slice(None)
    plan.add(x, lambda y: y * factor[rows], 0).sum().backward()
    kept = factor.grad.flatten() > 0
    expected = plan.kept[0] if mode == "subset" else plan.scale[0].nonzero().flatten()
    assert sorted(expected.tolist()) == kept.nonzero().flatten().tolist()
