"""What keeps the teacher's targets from collapsing: Sinkhorn-Knopp, or a moving centre.

Both end in a softmax over prototypes with one number added for each prototype:

    q_i = softmax_k(z_ik / τ + offset_k)

For Sinkhorn-Knopp the offset is the log-scaling of the prototypes (its last step normalises each
sample, which is the softmax), for the moving centre c it is -c / τ. So a centring is an offset [K],
and targets need never exist for more rows than a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from omnirad.comm import Comm, logsumexp
from omnirad.heads import at_least_fp32

CENTRE_MOMENTUM = 0.9  # unstated; D2


class ScaledLogits:
    """z / τ of all rows, formed a chunk at a time; kept where one chunk holds them all.

    Args:
        vectors: Unit vectors [rows, bottleneck].
        prototypes: [K, bottleneck].
        temperature: τ.
        chunk_rows: Rows whose logits [chunk, K] exist at one time.
    """

    def __init__(
        self, vectors: Tensor, prototypes: Tensor, temperature: float, chunk_rows: int
    ) -> None:
        self.vectors = vectors
        self.prototypes = prototypes
        self.temperature = temperature
        starts = range(0, len(vectors), chunk_rows)
        self.chunks = [slice(start, start + chunk_rows) for start in starts]
        self._kept: Tensor | None = None

    def __getitem__(self, rows: slice) -> Tensor:
        """Return a chunk's logits [chunk, K], fp32 at least; not to be changed."""
        if self._kept is not None:
            return self._kept
        found = at_least_fp32(self.vectors[rows] @ self.prototypes.T) / self.temperature
        if len(self.chunks) == 1:
            self._kept = found
        return found

    def __iter__(self) -> Iterator[Tensor]:
        """Yield every chunk's logits."""
        return (self[rows] for rows in self.chunks)


@torch.no_grad()
def sinkhorn_offset(logits: ScaledLogits, iterations: int, comm: Comm) -> Tensor:
    """Return the prototypes' log-scaling after some iterations of Sinkhorn-Knopp, [K].

    Each iteration gives all prototypes the same mass over all ranks' rows, then each row mass 1:

        u_k ← -log Σ_i exp(z_ik/τ + v_i),    v_i ← -log Σ_k exp(z_ik/τ + u_k)

    The constants ln K and ln B of the textbook form cancel in the softmax. Rows need not be
    equally many on all ranks. Logits are formed once an iteration.
    """
    offset = torch.zeros_like(logits.prototypes[:, 0], dtype=_dtype(logits))
    for iteration in range(iterations):
        mass = torch.full_like(offset, -torch.inf)
        for z in logits:
            v = -torch.logsumexp(z + offset, dim=1, keepdim=True) if iteration else 0.0
            mass = torch.logaddexp(mass, torch.logsumexp(z + v, dim=0))
        offset = -logsumexp(comm, mass)
    return offset


class MovingCentre(nn.Module):
    """The mean logits of past steps, subtracted from the teacher's (the alternative, of DINO)."""

    centre: Tensor

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def offset(self, logits: ScaledLogits, comm: Comm) -> Tensor:
        """Return this step's offset [K], and move the centre for the next."""
        offset = -self.centre / logits.temperature
        rows = torch.tensor(float(len(logits.vectors)), device=self.centre.device)
        total = comm.sum(logits.vectors.sum(dim=0))
        mean = total / comm.sum(rows).clamp(min=1)
        # Logits are linear in the vectors, so the mean of one is the image of the other's.
        with torch.autocast(self.centre.device.type, enabled=False):
            logits_mean = mean @ logits.prototypes.T
        self.centre.lerp_(logits_mean.to(self.centre.dtype), 1 - CENTRE_MOMENTUM)
        return offset


def _dtype(logits: ScaledLogits) -> torch.dtype:
    return torch.promote_types(logits.vectors.dtype, torch.float32)
