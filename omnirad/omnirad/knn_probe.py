"""What nearest neighbours see in frozen class tokens, beside three yardsticks without training.

Random weights have LayerScale 1: at the recipe's 1e-5 an untrained encoder gives every image the
same class token, beside which anything looks good.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from omnirad.data.crops import Box, normalised, resized
from omnirad.data.sources import Array, Source
from omnirad.data.specs import open_sources
from omnirad.errors import DataError
from omnirad.knn_scores import Floats, Ints, vote
from omnirad.model import create_model
from omnirad.progress import Progress, Silent

logger = logging.getLogger(__name__)

CHUNK = 64  # images a forward pass; fixed, so that numbers do not depend on it
COMPONENTS = 64
MOST = 20_000  # images of a split; of more, evenly spaced ones are taken


class Split(NamedTuple):
    """Labelled images of one size."""

    images: Tensor  # uint8 [N, C, S, S], C = 1 or 3
    labels: Tensor  # int64 [N]


class Probe:
    """Labelled images, neighbours among `train` and questions from another split.

    Args:
        spec: One source (`omnirad.data.specs`) with labels.
        split: `val`, or `test` where nothing is chosen any more.
        img_size: S, pixels; images are resized whole.
        device: Where encoders compute.
        progress: Where to report.

    Raises:
        DataError: If labels are missing or of one class only.
    """

    def __init__(
        self,
        spec: str,
        *,
        split: str,
        img_size: int,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> None:
        progress = progress or Silent()
        self.device = torch.device(device)
        self.img_size = img_size
        train, asked = open_sources([spec], ["train"]), open_sources([spec], [split])
        self.classes = classes_of(train, spec)
        self.bank = read_split(train, "train", self.classes, img_size, progress)
        self.queries = read_split(asked, split, self.classes, img_size, progress)

    @property
    def labels(self) -> Ints:
        """Classes of the images asked about [M]."""
        return self.queries.labels.numpy()

    def encoder(self, encoder: nn.Module) -> Floats:
        """Return the votes [M, C] in an encoder's class tokens."""
        return self._vote(*(class_tokens(encoder, s.images, self.device) for s in self._splits))

    def random(self, size: str) -> Floats:
        """Return the votes in the class tokens of random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoder = create_model(size, None, img_size=self.img_size)
        return self.encoder(encoder.to(self.device))

    def pixels(self) -> Floats:
        """Return the votes in the pixels themselves."""
        return self._vote(*(torch.from_numpy(flat(s.images)) for s in self._splits))

    def components(self) -> Floats:
        """Return the votes in 64 principal components of the training images."""
        from sklearn.decomposition import PCA

        bank, queries = (flat(s.images) for s in self._splits)
        most = min(COMPONENTS, *bank.shape)
        found = PCA(most, svd_solver="randomized", random_state=0).fit(bank)
        parts = (torch.from_numpy(found.transform(images)) for images in (bank, queries))
        return self._vote(*parts)

    def yardsticks(self, size: str) -> dict[str, Floats]:
        """Return the votes of all that needs no training."""
        return {
            "random weights": self.random(size),
            "raw pixels": self.pixels(),
            f"PCA {COMPONENTS}": self.components(),
        }

    @property
    def _splits(self) -> tuple[Split, Split]:
        return self.bank, self.queries

    def _vote(self, bank: Tensor, queries: Tensor) -> Floats:
        return vote(queries, bank, self.bank.labels, len(self.classes))


def classes_of(source: Source, spec: str) -> tuple[str, ...]:
    """Return the labels of a source in order.

    Raises:
        DataError: If there are fewer than two.
    """
    found = {source.sample(index).label for index in range(len(source))}
    if "" in found or len(found) < 2:
        raise DataError(
            f"{spec} has {'images without a label' if '' in found else 'one class only'}; a probe "
            "needs two classes or more, as an .npz archive of MedMNIST has"
        )
    return tuple(sorted(found))


def read_split(
    source: Source, split: str, classes: Sequence[str], img_size: int, progress: Progress
) -> Split:
    """Return all images of a split at one size, in colour if any of them is.

    Raises:
        DataError: If a label is not one of the training images'.
    """
    chosen = range(len(source))
    if len(source) > MOST:
        chosen = range(0, len(source), -(-len(source) // MOST))
        logger.info("probe: %d of %d images of %s", len(chosen), len(source), split)
    codes = {label: code for code, label in enumerate(classes)}
    progress.start(f"reading {split} images of the probe", len(chosen))
    images: list[Array] = []
    labels: list[int] = []
    for index in chosen:
        sample, image = source.sample(index), source.image(index)
        if sample.label not in codes:
            raise DataError(
                f"image {sample.id} of {split} has the label {sample.label!r}, which no training "
                "image has; use a source whose splits share their classes"
            )
        whole = Box(0, 0, image.shape[0], image.shape[1])
        images.append(np.atleast_3d(resized(image, whole, img_size, img_size)))
        labels.append(codes[sample.label])
        progress.advance()
    channels = max(image.shape[2] for image in images)
    stacked = np.stack([np.broadcast_to(i, (*i.shape[:2], channels)) for i in images])
    pixels = torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))
    return Split(pixels, torch.tensor(labels))


@torch.inference_mode()
def class_tokens(encoder: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Return the class tokens [N, D] of images uint8 [N, C, S, S], on the CPU."""
    training = encoder.training
    encoder.eval()
    found = [
        encoder(normalised(chunk.to(device))).float().cpu() for chunk in torch.split(images, CHUNK)
    ]
    encoder.train(training)
    return torch.cat(found)


def flat(images: Tensor) -> Array:
    """Return pixels in [0, 1] as float32 [N, C S S]."""
    values: Array = images.flatten(1).numpy().astype(np.float32) / 255
    return values
