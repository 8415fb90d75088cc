"""Folders of small images as users keep them, and what opening them gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from omnibench.cards import DataAccess
from omnibench.interfaces import Dataset
from omnibench_plugins.datasets.folder.card import make

SPLITS = ("train", "val", "test")
RNG = np.random.default_rng(0)


def opened(root: Path, **options: str) -> Dataset:
    return make(str(root)).open(DataAccess(root=Path("/nowhere"), offline=True, options=options))


def picture(path: Path, content: np.ndarray | None = None) -> Path:
    """Writes a small image, random unless given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (8, 8), dtype=np.uint8) if content is None else content
    Image.fromarray(pixels).save(path)
    return path


def class_folders(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        for index in range(count):
            picture(root / name / f"{index:03}.png")
    return root


def masks(root: Path, count: int, value: int = 255) -> Path:
    for index in range(count):
        mask = np.zeros((8, 8), np.uint8)
        mask[: index % 8 + 1] = value
        picture(root / "images" / f"{index:03}.png")
        picture(root / "masks" / f"{index:03}.png", mask)
    return root


def table(root: Path, rows: list[str], header: str = "image,label,patient") -> Path:
    (root / "metadata.csv").write_text("\n".join([header, *rows]))
    return root


def every_sample(dataset: Dataset) -> dict[int, tuple[str, object]]:
    return {
        int(split.ids[i]): (name, split.target(i))
        for name in SPLITS
        for split in [dataset.split(name)]
        for i in range(len(split))
    }
