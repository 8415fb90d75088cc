"""Small made-up encoders and datasets that every task must be able to work with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench.cards import SPLITS, DataAccess, DatasetKind, DatasetSpec, EncoderSpec
from omnibench.encoder import Encoder, Features
from omnibench.interfaces import Dataset

WIDTH, HEADS, PATCH, DEPTH, SIDE = 32, 2, 8, 3, 8  # side: of the table of positions
PIXELS = 32
COUNTS = {"train": 16, "val": 8, "test": 8}
CLASSES: Mapping[str, tuple[str, ...]] = {
    "labels": ("dark disc", "bright disc"),
    "masks": ("background", "disc"),
}


def encoder_card() -> EncoderSpec:
    """Return the card of a transformer of three blocks that has no weights to load."""
    return EncoderSpec(
        name="specimen",
        build=build,
        embed_dim=WIDTH,
        patch_size=PATCH,
        depth=DEPTH,
        licence="Apache-2.0",
        lora_targets="all-linear",
    )


def build(*, weights: Path | None = None, random_init: bool = False) -> Encoder:
    """Draw the specimen from its own stream, or from torch's with `random_init`; load a file."""
    from omnibench.checkpoint import load_checked, read_state

    with torch.random.fork_rng(devices=[]):
        if not random_init:
            torch.manual_seed(0)
        backbone = _Transformer()
    if weights is not None and not random_init:
        load_checked(backbone, read_state(weights), path=weights)
    return SpecimenEncoder(backbone)


class SpecimenEncoder(Encoder):
    """A vision transformer with a class token and learned positions."""

    def __init__(self, backbone: _Transformer) -> None:
        super().__init__(
            backbone,
            embed_dim=WIDTH,
            patch_size=PATCH,
            depth=DEPTH,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            lora_targets="all-linear",
        )

    def _features(self, x: Tensor) -> Features:
        states, grid = self.backbone(x)
        last = self.backbone.get_submodule("norm")(states[-1])
        return Features(last[:, 0], last[:, 1:], last[:, :1], grid)

    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        states, grid = self.backbone(x)
        chosen = [states[layer] for layer in layers]
        chosen = [self.backbone.get_submodule("norm")(s) for s in chosen] if norm else chosen
        return [s[:, 1:].transpose(1, 2).unflatten(2, grid) for s in chosen]


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(0.5 * torch.randn(1, WIDTH, SIDE, SIDE))
        self.blocks = nn.ModuleList(_Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Return the states [B, 1 + h*w, D] after each block, and (h, w)."""
        maps = self.patches(x)
        grid = (maps.shape[2], maps.shape[3])
        maps = maps + F.interpolate(self.positions, size=grid, mode="bilinear")
        tokens = maps.flatten(2).transpose(1, 2)
        state = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        states = []
        for block in self.blocks:
            state = block(state)
            states.append(state)
        return states, grid


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Attend and transform; x is [B, N, D]."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        result: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return result


def dataset_card(kind: DatasetKind) -> DatasetSpec:
    """Return the card of 16, 8 and 8 noisy discs of 32 px, dark and bright in turn."""
    return DatasetSpec(
        name=f"specimen-{kind}",
        kind=kind,
        open=partial(_open, kind),
        classes=CLASSES.get(kind, ()),
        split_sizes=(COUNTS["train"], COUNTS["val"], COUNTS["test"]),
        licence="CC0-1.0",
        embedded=True,
    )


def _open(kind: DatasetKind, access: DataAccess) -> Dataset:
    return SpecimenDataset(kind=kind)


@dataclass(frozen=True, kw_only=True)
class SpecimenDataset:
    """Discs, with targets of one kind."""

    kind: DatasetKind
    facts: Mapping[str, str] = field(default_factory=lambda: {"source_size": str(PIXELS)})

    @property
    def name(self) -> str:
        """Name of the card."""
        return f"specimen-{self.kind}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the card."""
        return CLASSES.get(self.kind, ())

    @property
    def digest(self) -> str:
        """Digest over the rule that draws it."""
        return hashlib.sha256(f"omnibench specimen 1 {self.kind}".encode()).hexdigest()

    def split(self, name: str) -> SpecimenSplit:
        """Return `train`, `val` or `test`."""
        before = SPLITS[: SPLITS.index(name)]
        return SpecimenSplit(self.kind, sum(COUNTS[s] for s in before), COUNTS[name])


@dataclass(frozen=True)
class SpecimenSplit:
    """Disc i of a split is bright if i is odd; two in a row are one group."""

    kind: DatasetKind
    start: int
    count: int

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        """Positions in the whole set."""
        return np.arange(self.start, self.start + self.count, dtype=np.int64)

    @property
    def groups(self) -> np.ndarray[Any, Any]:
        """Two neighbours are a group."""
        return self.ids // 2

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray[Any, Any]:
        """Return uint8 [32, 32]."""
        draw = np.random.default_rng(self.start + index)
        image = draw.integers(70, 130, (PIXELS, PIXELS))
        image[self._disc(index)] += 110 if index % 2 else -60
        return image.astype(np.uint8)

    def target(self, index: int) -> Any:
        """Return what the kind says: a label, a mask, captions."""
        shade = "bright" if index % 2 else "dark"
        targets: dict[str, Any] = {
            "labels": index % 2,
            "masks": self._disc(index).astype(np.uint8),
            "captions": (f"a {shade} disc on a grey field",),
            "images": None,
        }
        return targets[self.kind]

    def _disc(self, index: int) -> np.ndarray[Any, Any]:
        """Return bool [32, 32], a disc of radius 7 at a place that depends on the sample."""
        draw = np.random.default_rng([7, self.start + index])
        y, x = draw.integers(9, PIXELS - 9, 2)
        rows, columns = np.ogrid[:PIXELS, :PIXELS]
        disc: np.ndarray[Any, Any] = (rows - y) ** 2 + (columns - x) ** 2 <= 49
        return disc
