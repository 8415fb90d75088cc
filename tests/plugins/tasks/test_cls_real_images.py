"""Real ultrasound and X-rays, real DINOv2 weights: each tuning must learn, and repeat itself.

Runs go from names to records. They are `quick` on small images; without augmentation and dropout
a few dozen images teach something within three epochs (head: 30, for the encoder runs once).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omnibench.cells import RunRequest
from omnibench.harness import execute
from omnibench.metrics.classification import confusion_counts, f1_macro
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store

SIZES = {
    "breastmnist": {"source_size": "64", "max_images": "60,20,40"},
    "pneumoniamnist": {"source_size": "28", "max_images": "120,40,60"},
}
PLAIN = {"augmentation": "none", "head_dropout": "0", "epochs": "3", "image_size": "56"}
RATES = {
    "head": {"lr": "3e-3", "epochs": "30", "image_size": "84"},
    "lora-r8": {"lr": "5e-4"},
    "full": {"lr": "1e-5"},  # the paper's
}

Run = Callable[..., list[RunRecord]]


@pytest.fixture
def run(test_data: Path, tmp_path: Path) -> Run:
    """Runs seeds of a tuning on a dataset, by default in one results folder."""

    def run(
        tuning: str,
        dataset: str,
        *,
        random: bool = False,
        seeds: tuple[int, ...] = (0,),
        results: str = "results",
    ) -> list[RunRecord]:
        weights = test_data / "weights" / "dinov2_vits14_518_fp16.safetensors"
        request = RunRequest(
            encoders=["dinov2-small"],
            task="cls",
            datasets=[dataset],
            recipe="quick",
            tuning=tuning,
            settings=PLAIN | SIZES[dataset] | RATES[tuning],
            seeds=seeds,
            weights=None if random else weights,
            random_weights=random,
            data_root=test_data / "data",
            cache=tmp_path / "cache",
            results=tmp_path / results,
            allow_unverified=True,
            offline=True,
            device="cpu",
        )
        cells = plan(request, Registry.discover())
        records = [record for _, record, _ in execute(cells, request)]
        assert [r.status for r in records] == ["complete"] * len(seeds)
        return records

    return run


def value(records: list[RunRecord], metric: str) -> float:
    """Mean over seeds."""
    return float(np.mean([record.metrics[metric]["value"] for record in records]))


def majority(record: RunRecord, results: Path) -> float:
    """Macro F1 of always saying the more frequent class of the test images."""
    labels = Store(results).predictions(record)["test_label"]
    guess = np.full_like(labels, np.bincount(labels).argmax())
    return f1_macro(confusion_counts(guess, labels, 2))


@pytest.mark.parametrize(
    ("tuning", "dataset"),
    [("head", "pneumoniamnist"), ("lora-r8", "breastmnist"), ("full", "breastmnist")],
)
def test_each_tuning_beats_a_majority_guess_and_repeats_exactly(run, tmp_path, tuning, dataset):
    [one], [two] = (run(tuning, dataset, results=name) for name in ("one", "two"))
    guess = majority(one, tmp_path / "one")
    assert value([one], "f1_macro") > guess + 0.1, (value([one], "f1_macro"), guess)
    assert value([one], "auc") > 0.7
    assert one.run_id == two.run_id
    assert one.predictions == two.predictions
    assert one.metrics == two.metrics and one.validation == two.validation


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize("tuning", RATES)
def test_each_tuning_of_pretrained_weights_beats_random_ones(run, tmp_path, tuning, dataset):
    pretrained, untrained = (
        run(tuning, dataset, random=random, seeds=(0, 1)) for random in (False, True)
    )
    guess = majority(pretrained[0], tmp_path / "results")
    found = {m: (value(pretrained, m), value(untrained, m)) for m in ("f1_macro", "auc")}
    assert found["f1_macro"][0] > guess + 0.1, (found, guess)
    assert found["f1_macro"][0] > found["f1_macro"][1] + 0.02, found
    assert found["auc"][0] > found["auc"][1] + 0.02, found
