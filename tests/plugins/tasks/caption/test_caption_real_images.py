"""Real radiology figures, real DINOv2 weights, a language model from scratch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnibench.cells import RunRequest
from omnibench.harness import execute
from omnibench.metrics.captioning import metrics
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store

# Chosen on validation captions alone; the README of `plugins` says what came out.
MEASURED = {
    "language_model": "scratch",
    "image_size": "112",
    "merger_tokens": "8",
    "text_max_length": "20",
    "batch_size": "16",
    "lr": "4e-4",
    "warmup_steps": "100",
    "epochs": "12",
    "evaluate_every": "57",
    "decodings": "beam1-20,beam5-20",
}
COMPARED = ("bleu", "rouge_l")


@pytest.fixture
def run(test_data: Path, tmp_path: Path) -> Callable[..., tuple[Any, list[RunRecord], Store]]:
    """Runs the first seed; returns the dataset, a record a decoding and where they lie."""

    def run(recipe: str, settings: dict[str, str], **changes: Any) -> Any:
        request = RunRequest(
            encoders=["dinov2-small"],
            task="caption",
            datasets=[f"folder:{test_data / 'data' / 'roco_ccby'}"],
            recipe=recipe,
            settings=settings,
            seeds=(0,),
            weights=test_data / "weights" / "dinov2_vits14_518_fp16.safetensors",
            data_root=test_data / "data",
            cache=tmp_path / "cache",
            results=tmp_path / "results",
            offline=True,
            device="cpu",
            **changes,
        )
        [cell] = plan(request, Registry.discover())
        records = [record for _, record, _ in execute([cell], request)]
        assert all(record.status == "complete" for record in records), records[0].failure
        return cell.dataset, records, Store(request.results)

    return run


def scores(predictions: Any, captions: Any) -> dict[str, float]:
    """Corpus scores of other captions for the same test images."""
    arrays = {**predictions, "test_captions": np.array(captions)}
    return {m.id: 100 * m.value for m in metrics(arrays) if m.id in COMPARED}


def test_a_few_real_figures_pass_from_names_to_records(run):
    settings = MEASURED | {"epochs": "1", "decodings": "beam1-8", "image_size": "56"}
    dataset, [record], store = run("quick", settings, limit=6)
    arrays = store.predictions(record)
    assert arrays["test_id"].tolist() == dataset.split("test").ids.tolist()
    assert arrays["test_references"].shape[0] == 6
    assert record.details["visual_tokens"] == 16
    assert np.isfinite(record.details["val_losses"]).all()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_training_beats_the_commonest_caption_and_captions_of_other_images(run, capsys):
    dataset, records, store = run("paper", MEASURED)
    losses = [loss for _, loss in records[0].details["val_losses"]]
    assert min(losses) < 0.9 * losses[0], losses
    train = dataset.split("train")
    texts = Counter(text for i in range(len(train)) for text in train.target(i))
    [(commonest, _)] = texts.most_common(1)
    for record in records:
        arrays = store.predictions(record)
        written = arrays["test_captions"]
        model = scores(arrays, written)
        constant = scores(arrays, [commonest] * len(written))
        turns = [scores(arrays, np.roll(written, turn)) for turn in range(1, len(written))]
        others = {name: float(np.mean([turn[name] for turn in turns])) for name in COMPARED}
        with capsys.disabled():
            print(f"\n{record.identity['task']['variant']}: {len(set(written.tolist()))} captions")
            print(f"validation loss {losses}")
            print(f"model {model}\ncommonest caption {constant}\nother images {others}")
        assert len(set(written.tolist())) > 1
        assert all(model[name] > max(constant[name], others[name]) for name in COMPARED)
