"""Real ultrasound, real DINOv2 weights: a short run from names to records must find lesions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from omnibench.cells import RunRequest
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store

# BUSI at 128 px: `quick` on 84 px, three epochs over 60 images
SETTINGS = {"source_size": "128", "image_size": "84"}
HEADLINE = "miou_dataset@84"


@pytest.fixture
def run(test_data: Path, tmp_path: Path) -> Callable[..., tuple[RunRecord, Store]]:
    """Runs one seed in a results folder of its own."""

    def run(folder: str, *, random: bool = False, seed: int = 0) -> tuple[RunRecord, Store]:
        weights = test_data / "weights" / "dinov2_vits14_518_fp16.safetensors"
        request = RunRequest(
            encoders=["dinov2-small"],
            task="seg",
            datasets=["busi"],
            recipe="quick",
            settings=SETTINGS,
            seeds=(seed,),
            weights=None if random else weights,
            random_weights=random,
            data_root=test_data / "data",
            cache=tmp_path / "cache",
            results=tmp_path / folder,
            allow_unverified=True,
            offline=True,
            device="cpu",
        )
        [(_, record, _)] = execute(plan(request, Registry.discover()), request)
        assert record.status == "complete", record.failure
        return record, Store(request.results)

    return run


def headline(record: RunRecord) -> float:
    return float(record.metrics[HEADLINE]["value"])


def test_three_epochs_beat_an_all_background_guess_and_repeat_exactly(run):
    record, store = run("one")
    counts = store.predictions(record)["test_counts@84"].sum(axis=0)
    background = (counts[0, 0] + counts[0, 2]) / counts[0].sum()
    assert headline(record) > background / 2 + 0.05, (headline(record), background / 2)
    assert record.dataset["facts"]["unverified"]
    again, _ = run("two")
    assert again.run_id == record.run_id
    assert again.predictions == record.predictions and again.metrics == record.metrics


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pretrained_features_beat_random_ones(run):
    pretrained, random = (
        sum(headline(run("results", random=random, seed=seed)[0]) for seed in (0, 1)) / 2
        for random in (False, True)
    )
    assert pretrained > random + 0.02, (pretrained, random)
