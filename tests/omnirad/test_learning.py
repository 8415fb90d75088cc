"""Test 19: on real handwritten digits the recipe learns what random weights do not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from omnirad.job import Job
from omnirad.knn_probe import Probe
from omnirad.knn_scores import scores
from omnirad.loop import pretrain
from omnirad.model import create_model
from omnirad.presets import NANO

MARGIN = (
    0.15  # of accuracy; the trial run of the specification gained 0.37 in three times the steps
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_digits_are_told_apart_better_than_by_random_weights(tmp_path, narrow_nano):
    digits = load_digits()
    images = np.stack(
        [
            np.asarray(Image.fromarray((16 * d).clip(0, 255).astype(np.uint8)).resize((56, 56), 3))
            for d in digits.images
        ]
    )
    labels = digits.target[:, None]
    np.savez(
        tmp_path / "digits.npz",
        train_images=images[:1300],
        train_labels=labels[:1300],
        val_images=images[1300:],
        val_labels=labels[1300:],
    )
    data = f"npz:{tmp_path / 'digits.npz'}"
    recipe = replace(NANO, epochs=10, high_res_share=0.0, sampling="uniform", prototypes=512)
    target = pretrain(Job(recipe=recipe, data=(data,), out=tmp_path / "run", device="cpu"))
    probe = Probe(data, split="val", img_size=56)
    learnt = scores(probe.encoder(create_model("nano", target)), probe.labels)["accuracy"]
    untrained = scores(probe.random("nano"), probe.labels)["accuracy"]
    print(f"kNN accuracy {learnt:.3f}, random weights {untrained:.3f}")
    assert learnt > untrained + MARGIN
