"""The losses: cross-entropy over prototypes (DINO and iBOT), KoLeo, Gram anchoring.

Weights and scales are in `student_teacher`, in the order of the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from omnirad.centring import ScaledLogits
from omnirad.heads import at_least_fp32, unit

KOLEO_EPSILON = 1e-4  # DB's; at D2's 1e-8 two near-equal features give gradients in the thousands


def upstream_global_scale(local_crops: int) -> float:
    """Return α, by which D2's code scales the DINO term of the global crops beside its weight.

    8 local crops give 1/9, none 2/3. DB and RD keep one as a flag that means none: 1/2.
    """
    return 2 / (2 + max(2 * local_crops, 1))


@dataclass(frozen=True)
class Targets:
    """The teacher's side of a cross-entropy: q = softmax(z / τ_t + offset)."""

    logits: ScaledLogits
    offset: Tensor  # [K]

    def log_probabilities(self, rows: slice) -> Tensor:
        """Return log q of a chunk, [chunk, K]."""
        return (self.logits[rows] + self.offset).log_softmax(dim=1)


def prototype_loss(student: ScaledLogits, targets: Targets, weights: Tensor) -> Tensor:
    """Return Σ_i w_i · CE(q_i, z_i), CE(q, z) = -Σ_k q_k log softmax(z / τ_s)_k.

    Logits, targets and the gradient of logits exist for one chunk of rows at a time; what is kept
    for the backward pass are gradients of the size of the vectors and of the prototypes. The
    value and the gradient do not depend on the chunk.

    Args:
        student: The student's z / τ_s; gradients reach its vectors and its prototypes.
        targets: The teacher's, of the same rows.
        weights: w [rows].

    Returns:
        A scalar, fp32 at least.
    """
    value: Tensor = _PrototypeLoss.apply(
        student.vectors, student.prototypes, student, targets, weights
    )
    return value


class _PrototypeLoss(torch.autograd.Function):
    """Computes its gradient with its value, while the chunk's logits are there."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        prototypes: Tensor,
        student: ScaledLogits,
        targets: Targets,
        weights: Tensor,
    ) -> Tensor:
        total = at_least_fp32(weights.new_zeros(()))
        vectors_grad = torch.zeros_like(vectors)
        prototypes_grad = torch.zeros_like(prototypes)
        for rows in student.chunks:
            log_q = targets.log_probabilities(rows)
            log_p = student[rows].log_softmax(dim=1)
            q = log_q.exp_()
            w = weights[rows]
            total -= (w * (q * log_p).sum(dim=1)).sum()
            # d CE / d z = (p - q) / τ_s
            slope = log_p.exp_().sub_(q).mul_((w / student.temperature)[:, None])
            vectors_grad[rows] = slope @ prototypes
            prototypes_grad += slope.T @ vectors[rows]
        ctx.save_for_backward(vectors_grad, prototypes_grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        vectors_grad, prototypes_grad = ctx.saved_tensors
        return upstream * vectors_grad, upstream * prototypes_grad, None, None, None


def koleo_loss(features: Tensor) -> Tensor:
    """Return mean_i -log(‖u_i - u_nn(i)‖ + ε): spread features over the sphere.

    Args:
        features: The student's class tokens before the head, [b, D]; u are their unit vectors,
            nn(i) the nearest other row of the same rank and view.
    """
    u = unit(features)
    with torch.autocast(u.device.type, enabled=False), torch.no_grad():
        cosines = u @ u.T
        cosines.fill_diagonal_(-1)
        nearest = cosines.argmax(dim=1)
    distances = F.pairwise_distance(u, u[nearest], eps=KOLEO_EPSILON)
    return -torch.log(distances + KOLEO_EPSILON).mean()


def gram_loss(student: Tensor, anchor: Tensor) -> Tensor:
    """Return the mean of (cos_S(p, q) - cos_G(p, q))² over images and pairs of patches.

    Args:
        student: Patch tokens [B, N, D].
        anchor: Those of an earlier teacher, without gradient.
    """
    s, g = unit(student), unit(anchor)
    with torch.autocast(s.device.type, enabled=False):
        return F.mse_loss(s @ s.mT, g @ g.mT)
