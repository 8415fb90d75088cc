"""Forward passes in fixed chunks, their speed and their cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from omnibench.interfaces import RunContext
from omnibench.loading import as_images, index_batches

# One size for every forward pass without gradients, so that no number depends on the batch size.
CHUNK = 16


@torch.no_grad()
def in_chunks(
    function: Callable[[Tensor], Tensor], images: Tensor, context: RunContext, label: str
) -> tuple[Tensor, float]:
    """Apply a function to images, always in full precision and in chunks of one size.

    Args:
        function: Maps float RGB [B, 3, S, S] in [0, 1] to [B, D].
        images: [N, C, S, S], uint8 or float in [0, 1].
        context: Device and progress.
        label: What the progress is called.

    Returns:
        Results [N, D] on the CPU, and images per second.
    """
    context.progress.start(label, len(images))
    start = time.perf_counter()
    parts = []
    for index in index_batches(len(images), CHUNK):
        parts.append(function(as_images(images[index], context.device)).float().cpu())
        context.progress.advance(len(index))
    return torch.cat(parts), len(images) / (time.perf_counter() - start)


@torch.no_grad()
def flops_per_image(module: nn.Module, size: int, device: str) -> int:
    """Count floating-point operations of one image, attention included, 2 per multiply-add."""
    image = torch.zeros(1, 3, size, size, device=device)
    # Fused attention kernels are not counted everywhere; the plain one is made of products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops())
