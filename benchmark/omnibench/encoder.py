"""The encoder contract: the one contract that needs torch.

Notation: B batch, N patch tokens, D token width, P prefix tokens, H W pixels, h w token grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from omnibench.cards import Normalization, Pool
from omnibench.errors import PluginError, UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SLACK = 1e-3  # what rounding may add to [0, 1]
NO_CLASS_TOKEN = "this encoder has no class token; use --set pool=avg or pool=checkpoint"


class Features(NamedTuple):
    """What an encoder says about a batch of images."""

    pooled: Tensor  # [B, Dp]
    tokens: Tensor  # [B, h*w, D] patch tokens only, row-major, final norm applied
    prefix: Tensor | None  # [B, P, D] class token first, then registers; None if P == 0
    grid: tuple[int, int]  # (h, w)


class Encoder(nn.Module, ABC):
    """A wrapped model that turns images in [0, 1] into features.

    Normalisation and pooling live here, so that datasets know no encoder and tasks know no mean.
    Heads live in tasks. Two methods are left to subclasses: `_features` and `_intermediates`,
    both called with images that are already normalised.

    Args:
        backbone: The wrapped module; what LoRA adapters and checkpoints act on.
        embed_dim: Token width D.
        pooled_dim: Width of the checkpoint's own pooled output.
        patch_size: Side lengths of images must be multiples of it; 1 for any size.
        depth: Number of blocks or stages that `intermediates` may name.
        layer_channels: Channels of each block's map, length `depth`.
        dense_layers: Blocks tapped for dense tasks (0-based, ascending).
        mean: Own normalisation mean, RGB in [0, 1].
        std: Own normalisation standard deviation.
        lora_targets: Regex of the linear layers that LoRA adapts, `all-linear`, or None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        embed_dim: int,
        patch_size: int,
        depth: int,
        mean: Sequence[float],
        std: Sequence[float],
        pooled_dim: int | None = None,
        layer_channels: Sequence[int] | None = None,
        dense_layers: Sequence[int] | None = None,
        lora_targets: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embed_dim = embed_dim
        self.own_pooled_dim = pooled_dim or embed_dim
        self.patch_size = patch_size
        self.depth = depth
        self.layer_channels = tuple(layer_channels or [embed_dim] * depth)
        self.dense_layers = tuple(dense_layers if dense_layers is not None else thirds(depth))
        self.lora_targets = lora_targets
        self.normalization: Normalization = "own"
        self.pool: Pool = "checkpoint"
        self.frozen = False
        self._scale_seen = False
        self._own_statistics = (tuple(mean), tuple(std))
        # Not persistent: a backbone's state dict keeps the names of its publisher.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @abstractmethod
    def _features(self, x: Tensor) -> Features:
        """Features of normalised images [B, 3, H, W]; `pooled` as the checkpoint pools."""

    @abstractmethod
    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        """Maps [B, C, h, w] of the given blocks (0-based, ascending) of normalised images."""

    def configure(self, *, normalization: Normalization, pool: Pool) -> Self:
        """Choose the recipe's normalisation and pooling."""
        mean, std = (
            (IMAGENET_MEAN, IMAGENET_STD) if normalization == "imagenet" else self._own_statistics
        )
        self.mean.copy_(torch.tensor(mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(std).view(3, 1, 1))
        self.normalization = normalization
        self.pool = pool
        return self

    @property
    def pooled_dim(self) -> int:
        """Width Dp of `Features.pooled` under the chosen pooling."""
        return self.own_pooled_dim if self.pool == "checkpoint" else self.embed_dim

    def forward(self, images: Tensor) -> Features:
        """Encode images.

        Args:
            images: Float RGB [B, 3, H, W] in [0, 1]; H and W multiples of `patch_size`.

        Raises:
            UsageError: If the size does not fit, or the encoder has no class token to pool.
            PluginError: If `_features` returns other shapes than the contract's.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self._features(self.prepare(images))
        self._require_features(features, len(images))
        if self.pool == "avg":
            return features._replace(pooled=features.tokens.mean(dim=1))
        if self.pool == "cls":
            if features.prefix is None:
                raise UsageError(NO_CLASS_TOKEN)
            return features._replace(pooled=features.prefix[:, 0])
        return features

    def intermediates(
        self, images: Tensor, layers: Sequence[int] | None = None, norm: bool = False
    ) -> list[Tensor]:
        """Return block outputs as maps.

        Args:
            images: Float RGB [B, 3, H, W] in [0, 1].
            layers: 0-based block indices, strictly ascending; default `dense_layers`.
            norm: Apply the final norm to each.

        Returns:
            One [B, C, h, w] map a layer, prefix tokens dropped.

        Raises:
            UsageError: If the size or the layers do not fit.
            PluginError: If `_intermediates` returns other shapes than the contract's.
        """
        wanted = tuple(self.dense_layers if layers is None else layers)
        if list(wanted) != sorted(set(wanted)) or not all(0 <= i < self.depth for i in wanted):
            raise UsageError(
                f"layers {wanted} must be strictly ascending block indices from 0 to "
                f"{self.depth - 1}"
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self._intermediates(self.prepare(images), wanted, norm)
        self._require_maps(maps, wanted, len(images))
        return maps

    def _require_features(self, features: Features, batch: int) -> None:
        """Hold features to the contract: wrong ones could train and score unnoticed."""
        if not isinstance(features, Features):
            raise PluginError(
                f"{type(self).__name__}._features returned {type(features).__name__}, "
                "omnibench.encoder.Features was expected"
            )
        positions = features.grid[0] * features.grid[1]
        _require_shape("pooled features", features.pooled, batch, self.own_pooled_dim)
        _require_shape("patch tokens", features.tokens, batch, positions, self.embed_dim)
        if features.prefix is not None:
            _require_shape("prefix tokens", features.prefix, batch, None, self.embed_dim)

    def _require_maps(self, maps: list[Tensor], layers: tuple[int, ...], batch: int) -> None:
        if not isinstance(maps, list) or len(maps) != len(layers):
            raise PluginError(
                f"{type(self).__name__}._intermediates did not return a list of {len(layers)} "
                f"maps, one for each of the layers {layers}"
            )
        for layer, found in zip(layers, maps, strict=True):
            _require_shape(
                f"maps of layer {layer}", found, batch, self.layer_channels[layer], None, None
            )

    def prepare(self, images: Tensor) -> Tensor:
        """Check the size and scale of images [B, 3, H, W] in [0, 1] and normalise them."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise PluginError(f"an encoder takes images [B, 3, H, W], not {tuple(images.shape)}")
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise UsageError(
                f"image size {height}x{width} is not a multiple of the patch size "
                f"{self.patch_size}; use --set image_size="
                f"{max(1, round(height / self.patch_size)) * self.patch_size}"
            )
        self._require_scale(images)
        return (images - self.mean) / self.std

    def _require_scale(self, images: Tensor) -> None:
        """Refuse values outside [0, 1]; one picture tells, and later ones cost nothing."""
        if self._scale_seen:
            return
        low, high = (float(value) for value in images.detach().aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise PluginError(
                f"an encoder takes images in [0, 1], not from {low:g} to {high:g}: it normalises "
                "them itself; hand it what the dataset gives, as floats"
            )
        self._scale_seen = high > low  # an image of one value, such as a black one, tells nothing

    def freeze(self) -> Self:
        """Stop gradients and stay in eval mode, also when `train()` is called."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)


def thirds(depth: int) -> tuple[int, ...]:
    """Return the last block of each third: (3, 7, 11) of 12, (1, 3, 5) of 6."""
    if depth <= 3:
        return tuple(range(depth))
    return tuple(round(depth * part / 3) - 1 for part in (1, 2, 3))


def _require_shape(what: str, tensor: Tensor, *shape: int | None) -> None:
    """Raise `PluginError` unless a tensor has the shape; None stands for any size."""
    found = tuple(tensor.shape)
    if len(found) != len(shape) or any(
        size not in (None, actual) for size, actual in zip(shape, found, strict=True)
    ):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise PluginError(
            f"{what} have shape {found}, ({expected}) was expected; "
            "omnibench.encoder.Features and the encoder's card say which"
        )
