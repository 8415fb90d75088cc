"""The kNN probe beside a run: after every epoch, on the validation split of a labelled set."""

from __future__ import annotations

import logging

import torch
from torch import nn

from omnirad.knn_probe import Probe
from omnirad.knn_scores import scores
from omnirad.progress import Progress
from omnirad.recipe import PretrainRecipe

logger = logging.getLogger(__name__)


class RunProbe:
    """Scores of a run's teacher, with those of what needs no training.

    Args:
        spec: A labelled source with a validation split.
        recipe: Gives the image size and the architecture of random weights.
        device: Where encoders compute.
        progress: Where to report.
    """

    def __init__(
        self, spec: str, recipe: PretrainRecipe, device: torch.device, progress: Progress
    ) -> None:
        self._probe = Probe(
            spec, split="val", img_size=recipe.crop_size, device=device, progress=progress
        )
        self._others: dict[str, float] = {}
        names = ("random", "raw", "pca")
        for name, votes in zip(names, self._probe.yardsticks(recipe.size).values(), strict=True):
            found = scores(votes, self._probe.labels)
            self._others |= {f"{name}_{metric}": value for metric, value in found.items()}

    def row(self, encoder: nn.Module) -> dict[str, float]:
        """Return a teacher's scores and the others'."""
        found = scores(self._probe.encoder(encoder), self._probe.labels)
        return {f"knn_{metric}": value for metric, value in found.items()} | self._others


def warn_at_the_end(row: dict[str, float]) -> None:
    """Say it if raw pixels tell as much as the trained encoder."""
    if row["knn_accuracy"] <= row["raw_accuracy"]:
        logger.warning(
            "kNN accuracy %.3f in the trained features is not above %.3f in raw pixels: for this "
            "probe the encoder has learnt nothing of use",
            *(row["knn_accuracy"], row["raw_accuracy"]),
        )
