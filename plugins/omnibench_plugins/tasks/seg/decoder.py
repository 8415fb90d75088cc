"""Decoder: two up-sampling blocks and a classifier (OmniRad, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.tasks.seg.layers import conv_norm
from omnibench_plugins.tasks.seg.resampling import conv_of_resized


class Decoder(nn.Module):
    """U_16 = psi(Up(F_32) + F_16), U_8 = psi(Up(U_16) + F_8), + being concatenation.

    Args:
        dim: D.
        classes: Number of classes C.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        # unstated: the released code projects each scale first, inside the printed 14.27 M
        self.projections = nn.ModuleList(nn.Conv2d(dim, dim, 1, bias=False) for _ in range(3))
        self.to_16 = UpBlock(dim)
        self.to_8 = UpBlock(dim)
        self.classifier = nn.Conv2d(dim, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map F_8, F_16, F_32 [B, D, h, w] to logits [B, C, H/8, W/8]."""
        f8, f16, f32 = (p(m) for p, m in zip(self.projections, maps, strict=True))
        logits: Tensor = self.classifier(self.to_8(self.to_16(f32, f16), f8))
        return logits


class UpBlock(nn.Module):
    """psi(Up(coarse) + fine): two 3x3 convolutions 2D -> D -> D, each with batch norm and ReLU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(2 * dim, dim, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.refine = conv_norm(dim, dim, 3)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map [B, D, h, w] and [B, D, H, W] to [B, D, H, W].

        A convolution of a concatenation is a sum, and its coarse half is computed before resizing.
        """
        weight, size = self.join.weight, fine.shape[-2:]
        for_coarse, for_fine = weight[:, : coarse.shape[1]], weight[:, coarse.shape[1] :]
        summed = F.conv2d(fine, for_fine, padding=1) + conv_of_resized(coarse, for_coarse, size)
        return F.relu(self.refine(F.relu(self.norm(summed))))
