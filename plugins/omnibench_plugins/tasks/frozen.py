"""What every task on a frozen encoder owes it: that it stays as it was, bit by bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from omnibench.errors import PluginError


@contextmanager
def unchanged(encoder: nn.Module, name: str) -> Iterator[None]:
    """Raise `PluginError` if a parameter or buffer of a frozen encoder changes meanwhile."""
    before = fingerprint(encoder)
    yield
    if fingerprint(encoder) != before:
        raise PluginError(
            f"encoder {name!r} is frozen, yet its parameters or buffers changed in "
            "training; its forward pass must not write to them"
        )


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 over every parameter and buffer of a module, bit by bit."""
    digest = hashlib.sha256()
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            digest.update(name.encode())
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(raw.numpy().tobytes())
    return digest.hexdigest()
