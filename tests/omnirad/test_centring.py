"""Test 6: Sinkhorn-Knopp in the log domain, and the moving centre."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omnirad.centring import MovingCentre, ScaledLogits, sinkhorn_offset
from omnirad.comm import NullComm
from omnirad.losses import Targets

ALL = slice(None)


def logits_of(z: Tensor, temperature: float = 1.0, chunk_rows: int = 10_000) -> ScaledLogits:
    """Give logits z as they are: one-hot prototypes."""
    return ScaledLogits(z, torch.eye(z.shape[1], dtype=z.dtype), temperature, chunk_rows)


def random_logits(rows: int = 30, prototypes: int = 12, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return spread * torch.randn(rows, prototypes, generator=generator, dtype=torch.float64)


def plain_sinkhorn(z: Tensor, temperature: float, iterations: int) -> Tensor:
    """The algorithm as it is printed (section 4): in place, not in the log domain."""
    p = torch.exp(z / temperature).T
    p /= p.sum()
    prototypes, rows = p.shape
    for _ in range(iterations):
        p /= p.sum(dim=1, keepdim=True) * prototypes
        p /= p.sum(dim=0, keepdim=True) * rows
    return (p * rows).T


def sinkhorn(
    z: Tensor, temperature: float = 1.0, iterations: int = 3, chunk_rows: int = 10_000
) -> Tensor:
    logits = logits_of(z, temperature, chunk_rows)
    offset = sinkhorn_offset(logits, iterations, NullComm())
    found = [Targets(logits, offset).log_probabilities(rows).exp() for rows in logits.chunks]
    return torch.cat(found)


@pytest.mark.parametrize("temperature", [0.04, 0.07, 1.0])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_the_log_domain_equals_the_plain_algorithm(temperature, iterations):
    z = random_logits(spread=0.3)
    wanted = plain_sinkhorn(z, temperature, iterations)
    assert torch.allclose(sinkhorn(z, temperature, iterations), wanted, rtol=1e-10, atol=1e-14)


def test_samples_have_mass_one_after_three_iterations():
    q = sinkhorn(random_logits(), 0.04)
    assert torch.allclose(q.sum(dim=1), torch.ones(30, dtype=q.dtype), atol=1e-6)


def test_prototypes_have_equal_mass_after_many_iterations_only():
    """Section 4: at three iterations they are off by a quarter and more."""
    z = random_logits()
    share = 30 / 12
    error = (sinkhorn(z, 0.2, 3).sum(dim=0) / share - 1).abs().max()
    assert error > 0.01
    later = (sinkhorn(z, 1.0, 100).sum(dim=0) / share - 1).abs().max()
    assert later < 1e-3


def test_shifts_of_all_logits_and_of_prototypes_change_nothing():
    z = random_logits()
    q = sinkhorn(z, 0.5)
    assert torch.allclose(sinkhorn(z + 123.0, 0.5), q, atol=1e-10)
    assert torch.allclose(sinkhorn(z + random_logits(1, 12), 0.5), q, atol=1e-10)


def test_huge_logits_stay_finite_in_fp32():
    """The plain form overflows fp32 beyond 88."""
    z = random_logits().float() * 1e3
    assert not plain_sinkhorn(z, 0.04, 3).isfinite().all()
    q = sinkhorn(z, 0.04)
    assert q.isfinite().all() and torch.allclose(q.sum(dim=1), torch.ones(30), atol=1e-5)


@pytest.mark.parametrize("chunk_rows", [1, 7, 29])
def test_chunks_change_nothing(chunk_rows):
    z = random_logits()
    assert torch.allclose(sinkhorn(z, 0.04, 3, chunk_rows), sinkhorn(z, 0.04), atol=1e-12)


def test_no_rows_still_give_an_offset_of_every_prototype():
    offset = sinkhorn_offset(logits_of(random_logits()[:0]), 3, NullComm())
    assert offset.shape == (12,)


def test_the_moving_centre_is_used_first_and_moved_after():
    z = random_logits(8, 5).float()
    centre = MovingCentre(5)
    first = centre.offset(logits_of(z, 0.5), NullComm())
    assert torch.equal(first, torch.zeros(5))
    assert torch.allclose(centre.centre, 0.1 * z.mean(dim=0), atol=1e-7)
    second = centre.offset(logits_of(z, 0.5), NullComm())
    assert torch.allclose(second, -0.1 * z.mean(dim=0) / 0.5, atol=1e-6)
    assert torch.allclose(centre.centre, 0.19 * z.mean(dim=0), atol=1e-6)
    assert "centre" in centre.state_dict()


def test_softmax_centring_is_its_formula():
    z = random_logits(8, 5).float()
    centre = MovingCentre(5)
    centre.centre.copy_(torch.arange(5.0))
    logits = logits_of(z, 0.5)
    q = Targets(logits, centre.offset(logits, NullComm())).log_probabilities(ALL).exp()
    assert torch.allclose(q, torch.softmax((z - torch.arange(5.0)) / 0.5, dim=1), atol=1e-6)


def test_a_centre_without_rows_stays_finite():
    centre = MovingCentre(5)
    centre.offset(logits_of(torch.zeros(0, 5)), NullComm())
    assert torch.equal(centre.centre, torch.zeros(5))
    assert math.isfinite(float(centre.centre.sum()))
