"""Real ultrasound, real DINOv2 weights: a short run must find lesions."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import EncoderSpec, RunContext
from omnibench.subset import Subset
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.recipe import QUICK
from omnibench_plugins.tasks.seg.task import Segmentation

ARCH = "vit_small_patch14_dinov2.lvd142m"
WEIGHTS = "dinov2_vits14_518_fp16.safetensors"
RECIPE = dataclasses.replace(QUICK, image_size=84)


@dataclasses.dataclass(frozen=True)
class Images:
    """One split of MedSegBench's BUSI, as the archive holds it."""

    images: np.ndarray
    masks: np.ndarray
    groups: None = None

    @property
    def ids(self) -> np.ndarray:
        return np.arange(len(self.images), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def target(self, index: int) -> np.ndarray:
        return self.masks[index]


@dataclasses.dataclass(frozen=True)
class Busi:
    root: Path
    name: str = "busi"
    kind: str = "masks"
    classes: tuple[str, ...] = ("background", "lesion")
    digest: str = "01" * 32
    facts: Any = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> Images:
        with np.load(self.root / "busi_128.npz", allow_pickle=False) as archive:
            return Images(archive[f"{name}_images"], archive[f"{name}_label"])


def headline(test_data: Path, *, pretrained: bool) -> tuple[float, float]:
    """Return mean IoU of a short run, and of predicting background everywhere."""
    weights = WeightsChoice(kind="random")
    if pretrained:
        weights = WeightsChoice(kind="file", path=test_data / "weights" / WEIGHTS)

    def make(*, weights: Path | None, random_init: bool) -> Any:
        return build(ARCH, weights=weights, random_init=random_init)

    card = EncoderSpec(name="dinov2-small", build=make, embed_dim=384, patch_size=14, depth=12)
    handle = EncoderHandle(card=card, weights=weights, label="dinov2-small")
    dataset: Any = Subset(Busi(test_data / "data" / "medsegbench"), (60, 20, 40))  # type: ignore[arg-type]
    task = Segmentation()
    [outcome] = task.run(handle, dataset, RECIPE, RunContext(seed=0))
    scores = {m.id: m.value for m in task.score(outcome.predictions)}
    counts = outcome.predictions["test_counts@84"].sum(axis=0)
    background = counts[0, 0] + counts[0, 2]
    return scores[task.headline(RECIPE)], background / counts[0].sum() / 2


def test_three_epochs_on_pretrained_features_beat_an_all_background_guess(test_data):
    score, guess = headline(test_data, pretrained=True)
    assert score > guess + 0.05, (score, guess)


@pytest.mark.slow
def test_pretrained_features_beat_random_ones(test_data):
    pretrained, _ = headline(test_data, pretrained=True)
    random, _ = headline(test_data, pretrained=False)
    assert pretrained > random + 0.02, (pretrained, random)
