"""Randomness as a function of position: what is drawn depends on names, never on history.

Each axis (data order, augmentation, initialisation, dropout) has its own stream, so that two
encoders see the same batches in the same order and a resumed epoch draws what it would have.
What this cannot promise: equal bits on another machine, library version or accelerator.
"""

from __future__ import annotations

import hashlib

import torch


def derive(*parts: object) -> int:
    """Return a 63-bit seed from a sequence of names and numbers."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def generator(*parts: object) -> torch.Generator:
    """Return a CPU generator for the named stream."""
    return torch.Generator().manual_seed(derive(*parts))


def seed_initialisation(seed: int) -> None:
    """Seed torch's global generators for drawing the task's parameters of run `seed`."""
    torch.manual_seed(derive("initialisation", seed))


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch's global generators (dropout) for one epoch of run `seed`."""
    torch.manual_seed(derive("epoch", seed, epoch))
