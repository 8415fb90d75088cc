"""Tiny datasets in memory and a tiny transformer, for tests of tasks with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from omnibench.cards import EncoderSpec
from omnibench.encoder import Encoder, Features
from omnibench.handle import EncoderHandle, WeightsChoice

BLOCK_LINEARS = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"


class PlainViT(Encoder):
    """A timm VisionTransformer, class token pooled."""

    def __init__(self, vit: VisionTransformer, patch_size: int, lora: str | None) -> None:
        super().__init__(
            vit,
            embed_dim=vit.embed_dim,
            patch_size=patch_size,
            depth=len(vit.blocks),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            lora_targets=lora,
        )

    def _features(self, x: torch.Tensor) -> Features:
        tokens = self.backbone.forward_features(x)
        side = x.shape[-1] // self.patch_size
        return Features(tokens[:, 0], tokens[:, 1:], tokens[:, :1], (side, side))

    def _intermediates(self, x: torch.Tensor, layers: tuple[int, ...], norm: bool) -> list[Any]:
        found: list[Any] = self.backbone.forward_intermediates(
            x, indices=list(layers), norm=norm, intermediates_only=True
        )
        return found


@dataclasses.dataclass(frozen=True)
class LabelSplit:
    images: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]
    ids: np.ndarray[Any, Any]
    groups: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray[Any, Any]:
        return self.images[index]

    def target(self, index: int) -> int:
        return int(self.targets[index])


@dataclasses.dataclass(frozen=True)
class LabelDataset:
    splits: Mapping[str, LabelSplit]
    classes: tuple[str, ...]
    name: str = "stripes"
    kind: str = "labels"
    digest: str = "cd" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> LabelSplit:
        return self.splits[name]


@dataclasses.dataclass(frozen=True)
class UnreadDataset:
    """Fails as soon as a split is asked for: refusals must come before."""

    name: str = "unread"
    kind: str = "labels"
    classes: tuple[str, ...] = ("one", "other")
    digest: str = "ef" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> LabelSplit:
        raise AssertionError(f"split {name!r} was read")


@pytest.fixture
def unread() -> UnreadDataset:
    """A dataset that nothing may be read from."""
    return UnreadDataset()


class NoClassToken(PlainViT):
    """Gives patch tokens only, as CNNs do."""

    def _features(self, x: torch.Tensor) -> Features:
        return super()._features(x)._replace(prefix=None)


@pytest.fixture
def tokenless_handle() -> EncoderHandle:
    """Handle of an encoder without class token, of 8-pixel patches."""

    def build(*, weights: Any, random_init: bool) -> Encoder:
        vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
        return NoClassToken(vit, patch_size=8, lora=None)

    card = EncoderSpec(name="tokenless", build=build, embed_dim=32, patch_size=8, depth=1)
    return EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="tokenless")


@pytest.fixture(scope="session")
def vit_handle() -> Callable[..., EncoderHandle]:
    """Makes handles of a transformer of two blocks, width 32, 8-pixel patches, 32 px."""

    def make(lora: str | None = BLOCK_LINEARS, change: Any = None) -> EncoderHandle:
        def build(*, weights: Any, random_init: bool) -> Encoder:
            vit = VisionTransformer(
                img_size=32,
                patch_size=8,
                embed_dim=32,
                depth=2,
                num_heads=2,
                num_classes=0,
            )
            if change is not None:
                change(vit)
            return PlainViT(vit, patch_size=8, lora=lora)

        card = EncoderSpec(
            name="tiny-vit", build=build, embed_dim=32, patch_size=8, depth=2, lora_targets=lora
        )
        return EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="tiny-vit")

    return make


@pytest.fixture(scope="session")
def stripes() -> LabelDataset:
    """Horizontal against vertical stripes with noise: 24, 12 and 12 grey images of 32 px."""
    draw = np.random.default_rng(0)

    def split(start: int, count: int) -> LabelSplit:
        targets = np.arange(count) % 2
        wave = np.where(np.arange(32) // 4 % 2, 200, 50)
        images = np.stack(
            [np.tile(wave, (32, 1)).T if t else np.tile(wave, (32, 1)) for t in targets]
        )
        noisy = images + draw.normal(0, 20, images.shape)
        return LabelSplit(
            noisy.clip(0, 255).astype(np.uint8),
            targets,
            np.arange(start, start + count, dtype=np.int64),
            np.arange(start, start + count, dtype=np.int64) // 2,
        )

    splits = {"train": split(0, 24), "val": split(24, 12), "test": split(36, 12)}
    return LabelDataset(splits, ("flat", "upright"))
