"""Weighted nearest neighbours among frozen features (Caron et al. 2021, Sec. 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 256  # queries at a time; bounds the memory, changes no number


def vote(
    queries: Tensor, bank: Tensor, labels: Tensor, *, classes: int, k: int, temperature: float
) -> Tensor:
    """Let the k nearest samples vote with weights exp(cosine / temperature).

    Args:
        queries: Features [M, D].
        bank: Features of the training samples [N, D].
        labels: Their classes, int64 [N].
        classes: Number of classes C.
        k: Number of voters; all N if there are fewer.
        temperature: Softness of the votes.

    Returns:
        Shares of the votes [M, C], rows sum to 1.
    """
    q, b = F.normalize(queries, dim=1), F.normalize(bank, dim=1)
    parts = []
    for rows in torch.split(q, _ROWS):
        similarity, nearest = (rows @ b.T).topk(min(k, len(bank)), dim=1)
        weights = torch.softmax(similarity / temperature, dim=1)
        votes = torch.zeros(len(rows), classes, dtype=weights.dtype)
        parts.append(votes.scatter_add_(1, labels[nearest], weights))
    return torch.cat(parts)
