"""What nearest neighbours know of the concepts (UMLS CUIs) that ROCO-style images show."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omnirad.data.crops import Box, resized
from omnirad.data.decoding import luma
from omnirad.data.files import FileSource, open_folder
from omnirad.errors import DataError, SetupError
from omnirad.knn_probe import COMPONENTS, class_tokens, flat
from omnirad.knn_scores import RESAMPLES, Floats, Interval, resampled, vote
from omnirad.model import create_model
from omnirad.progress import Progress

LEAST = 10  # test images that show a concept which is asked about
SEED = 0


def probe_concepts(weights: Path, root: Path, progress: Progress) -> dict[str, Interval]:
    """Return the mean AUC over concepts of a vote of the 20 nearest training images.

    Args:
        weights: Folder of a nano encoder.
        root: Holds `train/`, `test/` and their `_concepts.csv` files.
        progress: Where to report.

    Returns:
        Of the encoder, random weights, raw pixels and 64 principal components, and the paired
        differences, with 95 % intervals over test images.

    Raises:
        SetupError: If a table is missing.
        DataError: If no concept is frequent enough.
    """
    encoder = create_model("nano", weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        untrained = create_model("nano", None)
    size = encoder.patch_embed.img_size[0]
    (bank, taught), (queries, asked) = (read(root, split, size) for split in ("train", "test"))
    frequent = Counter(concept for shown in asked for concept in shown)
    concepts = sorted(c for c, n in frequent.items() if n >= LEAST and any(c in t for t in taught))
    if not concepts:
        raise DataError(f"no concept of {root.name} is shown by {LEAST} test images")
    device = torch.device("cpu")
    progress.start("concepts", 4)
    features = {
        "weights": (class_tokens(encoder, i, device) for i in (bank, queries)),
        "random weights": (class_tokens(untrained, i, device) for i in (bank, queries)),
        "raw pixels": (torch.from_numpy(flat(i)) for i in (bank, queries)),
        f"PCA {COMPONENTS}": components(bank, queries),
    }
    rng = np.random.default_rng(SEED)
    draws = rng.integers(len(asked), size=(RESAMPLES, len(asked)))
    whole = np.arange(len(asked))[None]
    drawn: dict[str, Floats] = {}
    for name, (of_bank, of_queries) in features.items():
        areas = []
        for concept in concepts:
            labels = torch.tensor([concept in shown for shown in taught]).long()
            truth = np.array([concept in shown for shown in asked], dtype=np.int64)
            votes = vote(of_queries, of_bank, labels, 2)
            areas.append(
                np.concatenate([resampled(votes, truth, i)["auc"] for i in (whole, draws)])
            )
        # a resample may lack a concept; it then does not count in it
        drawn[name] = np.nanmean(areas, axis=0)
        progress.advance()
    first, *others = drawn
    drawn |= {f"{first} - {other}": drawn[first] - drawn[other] for other in others}
    return {name: _interval(values) for name, values in drawn.items()}


def components(bank: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Return 64 principal components of the training images, and of others in their terms."""
    from sklearn.decomposition import PCA

    rows = flat(bank)
    most = min(COMPONENTS, *rows.shape)
    found = PCA(most, svd_solver="randomized", random_state=SEED).fit(rows)
    first, second = (found.transform(flat(images)) for images in (bank, queries))
    return torch.from_numpy(first), torch.from_numpy(second)


def read(root: Path, split: str, size: int) -> tuple[Tensor, list[frozenset[str]]]:
    """Return a split's images, grey uint8 [N, 1, size, size], and the concepts of each."""
    table = root / f"{split}_concepts.csv"
    if not table.is_file():
        raise SetupError(f"there is no {table}; name a folder in ROCO's layout")
    with table.open(encoding="utf-8", newline="") as stream:
        shown = {
            row["ID"]: frozenset(row["CUIs"].split(";")) - {""} for row in csv.DictReader(stream)
        }
    source = open_folder(root, (split,))
    images = np.stack([_whole(source, index, size) for index in range(len(source))])
    names = [Path(source.sample(index).id).stem for index in range(len(source))]
    return torch.from_numpy(images)[:, None], [shown.get(name, frozenset()) for name in names]


def _whole(
    source: FileSource, index: int, size: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = luma(source.image(index))
    found: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = resized(
        image, Box(0, 0, *image.shape[:2]), size, size
    )
    return found


def _interval(values: Floats) -> Interval:
    """Return the first value, and the 95 % percentile interval of the others."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Interval(float(values[0]), float(low), float(high))
