"""Spatial prior: a light convolutional pyramid beside the encoder (OmniRad, Sec. 3.3).

Widths, norms and activations are unstated and the released code's.
"""

from __future__ import annotations

from torch import Tensor, nn

from omnibench_plugins.tasks.seg.layers import conv_norm

PRIOR_CHANNELS = (32, 64, 64)  # of C_8, C_16, C_32


class SpatialPrior(nn.Module):
    """3x3 convolutions of stride 2 from normalised images to strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 16, 3, 2), nn.GELU(), nn.MaxPool2d(3, 2, padding=1))
        self.to_8 = conv_norm(16, 32, 3, 2)
        self.to_16 = nn.Sequential(nn.GELU(), conv_norm(32, 64, 3, 2))
        self.to_32 = nn.Sequential(nn.GELU(), conv_norm(64, 64, 3, 2))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return C_8 [B, 32, H/8, W/8], C_16 [B, 64, ...] and C_32 [B, 64, ...], not activated.

        Odd sides are rounded up, so that 112 pixels give 14, 7 and 4.
        """
        c8 = self.to_8(self.stem(x))
        c16 = self.to_16(c8)
        return [c8, c16, self.to_32(c16)]
