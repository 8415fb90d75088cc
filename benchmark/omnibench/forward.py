"""Forward passes in chunks of one size, their speed and their cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from omnibench.cards import Precision
from omnibench.interfaces import RunContext
from omnibench.loading import as_images

# One size for every forward pass without gradients, so that no number depends on the batch size.
CHUNK = 16


class Images(Protocol):
    """Images of a split, in memory or not; a tensor [N, C, S, S] is one."""

    def __len__(self) -> int:
        """Return the number of images N."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Return images [b, C, S, S], uint8 or float in [0, 1], at the given indices [b]."""


class Counts(NamedTuple):
    """Numbers of parameters."""

    total: int
    trainable: int


def chunks(index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut sample indices [N] into chunks, each with a copy of exactly `CHUNK` indices.

    Kernels differ between batch sizes, so that the last chunk is filled up with its last sample.

    Yields:
        Indices [b], and the same filled up to [CHUNK]; of what is computed from the second only
        the first b rows count.
    """
    for part in torch.split(index, CHUNK):
        yield part, torch.cat([part, part[-1:].expand(CHUNK - len(part))])


def autocast_to(precision: Precision, device: str) -> AbstractContextManager[object]:
    """Return mixed precision of a type, nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.split(":")[0], dtype=dtype)


@torch.no_grad()
def in_chunks(
    function: Callable[[Tensor], Tensor], images: Images, context: RunContext, label: str
) -> tuple[Tensor, float]:
    """Apply a function to images, always in full precision and in chunks of one size.

    Args:
        function: Maps float RGB [B, 3, S, S] in [0, 1] to [B, D].
        images: [N, C, S, S], uint8 or float in [0, 1]; a tensor, or read from disk.
        context: Device and progress.
        label: What the progress is called.

    Returns:
        Results [N, D] on the CPU, and images per second.
    """
    context.progress.start(label, len(images))
    start = time.perf_counter()
    parts = []
    for part, filled in chunks(torch.arange(len(images))):
        found = function(as_images(images[filled], context.device))
        parts.append(found[: len(part)].float().cpu())
        context.progress.advance(len(part))
    return torch.cat(parts), len(images) / (time.perf_counter() - start)


@torch.no_grad()
def flops_per_image(module: nn.Module, size: int, device: str, *others: Any) -> int:
    """Count floating-point operations of one image, attention included, 2 per multiply-add.

    The module is left in eval mode. A black image passes through it, followed by any `others`
    that it takes, so that tasks call this before they read images: what cannot be encoded is
    refused at once.
    """
    image = torch.zeros(1, 3, size, size, device=device)
    # Fused attention kernels are not counted everywhere; the plain one is made of products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.eval()(image, *others)
    return int(counter.get_total_flops())


def parameter_counts(module: nn.Module) -> Counts:
    """Count parameters, frozen ones included, and those that require gradients."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return Counts(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained))
