"""Tests 4, 14 and 15: losses against slow loops, chunk by chunk, and near coincidence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omnirad.centring import ScaledLogits, sinkhorn_offset
from omnirad.comm import NullComm
from omnirad.heads import unit
from omnirad.losses import Targets, gram_loss, koleo_loss, prototype_loss
from omnirad.measures import measure

ROWS, SPHERE, PROTOTYPES = 37, 8, 50


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return student vectors and prototypes, the teacher's, and row weights."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    student, teacher = unit(draw(ROWS, SPHERE)), unit(draw(ROWS, SPHERE))
    ours, theirs = draw(PROTOTYPES, SPHERE), draw(PROTOTYPES, SPHERE)
    weights = torch.rand(ROWS, generator=generator, dtype=torch.float64).to(dtype)
    return student.requires_grad_(), ours.requires_grad_(), teacher, theirs, weights


def fused(chunk_rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    student, ours, teacher, theirs, weights = tensors(dtype)
    targets = ScaledLogits(teacher, theirs, 0.04, chunk_rows)
    offset = sinkhorn_offset(targets, 3, NullComm())
    logits = ScaledLogits(student, ours, 0.1, chunk_rows)
    loss = prototype_loss(logits, Targets(targets, offset), weights)
    (3 * loss).backward()
    return loss.detach(), student.grad, ours.grad


def by_hand() -> tuple[Tensor, Tensor, Tensor]:
    """The same in float64 by autograd, with the printed Sinkhorn."""
    student, ours, teacher, theirs, weights = tensors(torch.float64)
    p = torch.exp(teacher @ theirs.T / 0.04).T
    p /= p.sum()
    for _ in range(3):
        p /= p.sum(dim=1, keepdim=True) * PROTOTYPES
        p /= p.sum(dim=0, keepdim=True) * ROWS
    q = (p * ROWS).T
    log_p = F.log_softmax(student @ ours.T / 0.1, dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(ROWS):
        for k in range(PROTOTYPES):
            total = total - weights[i] * q[i, k] * log_p[i, k]
    (3 * total).backward()
    return total.detach(), student.grad, ours.grad


@pytest.mark.parametrize("chunk_rows", [5, 36, 37, 2048])
def test_value_and_gradients_equal_a_slow_loop_whatever_the_chunk(chunk_rows):
    for found, wanted in zip(fused(chunk_rows, torch.float64), by_hand(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_single_precision_is_near_the_slow_loop():
    """Section 10, test 4 asks for 1e-7 relative of the value; fp32 sums over 37 rows give 1e-6."""
    found, wanted = fused(2048)[0], by_hand()[0]
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


def test_chunked_equals_unchunked_in_single_precision():
    for whole, parts in zip(fused(2048), fused(8), strict=True):
        assert (parts - whole).norm() <= 1e-6 * whole.norm()


def test_a_loss_without_rows_is_zero_and_passes_gradients():
    student, ours, teacher, theirs, weights = tensors()
    none = slice(0, 0)
    targets = ScaledLogits(teacher[none], theirs, 0.04, 8)
    logits = ScaledLogits(student[none], ours, 0.1, 8)
    loss = prototype_loss(logits, Targets(targets, torch.zeros(PROTOTYPES)), weights[none])
    loss.backward()
    assert loss == 0 and not ours.grad.any() and not student.grad.any()


def test_uniform_predictions_cost_the_logarithm_of_the_prototypes():
    """Reference magnitude of section 2: ln K."""
    flat = torch.zeros(PROTOTYPES, SPHERE)
    student, _, teacher, theirs, _ = tensors()
    logits = ScaledLogits(student.detach().requires_grad_(), flat, 0.1, 8)
    targets = Targets(ScaledLogits(teacher, theirs, 0.04, 8), torch.zeros(PROTOTYPES))
    loss = prototype_loss(logits, targets, torch.full((ROWS,), 1 / ROWS))
    assert float(loss.detach()) == pytest.approx(math.log(PROTOTYPES), rel=1e-6)


def coincident(spread: float = 1e-6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(1, 384, generator=generator)
    return (base + spread * torch.randn(32, 384, generator=generator)).requires_grad_()


def test_koleo_of_near_coincident_points_has_small_gradients():
    """Test 15: at an epsilon of 1e-8 the same points give a gradient norm in the thousands."""
    x = coincident()
    loss = koleo_loss(x)
    loss.backward()
    assert loss.isfinite() and x.grad.norm() < 100
    y = coincident()
    u = F.normalize(y, dim=1)
    nearest = (u @ u.T - 3 * torch.eye(32)).argmax(dim=1)
    upstream = -torch.log(F.pairwise_distance(u, u[nearest], eps=1e-8) + 1e-8).mean()
    upstream.backward()
    assert y.grad.norm() > 1000


def test_koleo_is_its_formula():
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    u = x / x.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(9):
        distances = [float((u[i] - u[j]).norm()) for j in range(9) if j != i]
        total -= math.log(min(distances)) / 9
    assert float(koleo_loss(x)) == pytest.approx(total, abs=2e-3)  # the epsilon's share


def test_koleo_of_equal_points_is_finite():
    x = torch.ones(4, 6, requires_grad=True)
    koleo_loss(x).backward()
    assert x.grad.isfinite().all()


def test_gram_compares_cosines_of_patches_image_by_image():
    generator = torch.Generator().manual_seed(0)
    s, g = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    total = 0.0
    for b in range(2):
        for p in range(3):
            for q in range(3):
                ours = F.cosine_similarity(s[b, p], s[b, q], dim=0)
                anchored = F.cosine_similarity(g[b, p], g[b, q], dim=0)
                total += float(ours - anchored) ** 2 / 18
    assert float(gram_loss(s, g)) == pytest.approx(total, rel=1e-5)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    assert float(gram_loss(2 * s @ rotation, s)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("chunk_rows", [5, 2048])
def test_targets_are_measured_as_defined(chunk_rows):
    _, _, teacher, theirs, _ = tensors()
    logits = ScaledLogits(teacher, theirs, 0.04, chunk_rows)
    offset = sinkhorn_offset(logits, 3, NullComm())
    found = measure(Targets(logits, offset))
    z = teacher @ theirs.T / 0.04
    q, before = (z + offset).softmax(dim=1), z.softmax(dim=1).mean(dim=0)
    entropy = -(q * q.clamp(min=1e-30).log()).sum(dim=1).mean() / math.log(PROTOTYPES)
    marginal = -(before * before.clamp(min=1e-30).log()).sum() / math.log(PROTOTYPES)
    assert float(found.entropy) == pytest.approx(float(entropy), rel=1e-5)
    assert float(found.marginal_entropy) == pytest.approx(float(marginal), rel=1e-5)
    assert torch.equal(found.assigned, q.argmax(dim=1))


def test_uniform_and_collapsed_targets_have_entropy_one_and_zero():
    flat = ScaledLogits(torch.zeros(4, SPHERE), torch.ones(PROTOTYPES, SPHERE), 0.04, 8)
    found = measure(Targets(flat, torch.zeros(PROTOTYPES)))
    assert float(found.entropy) == pytest.approx(1) == float(found.marginal_entropy)
    one = torch.zeros(PROTOTYPES)
    one[3] = 1e4
    collapsed = measure(Targets(flat, one))
    assert float(collapsed.entropy) == 0 and collapsed.assigned.tolist() == [3] * 4
