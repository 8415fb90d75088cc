"""From names to records: what is missing, what is resumed, what is shown."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from omnibench.cli import cli
from omnibench.errors import UsageError
from omnibench_plugins.tasks.caption import run as caption_run

FAST = {
    "language_model": "scratch",
    "image_size": "32",
    "merger_tokens": "2",
    "epochs": "1",
    "batch_size": "4",
    "micro_batch": "4",
    "decodings": "beam1-6,beam2-6",
    "max_images": "none",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A captions folder as ROCOv2 lays it out: 8, 4 and 4 grey images."""
    root = tmp_path / "hospital"
    for split, count in (("train", 8), ("valid", 4), ("test", 4)):
        (root / split).mkdir(parents=True)
        with (root / f"{split}_captions.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["ID", "Caption"])
            for number in range(count):
                pixels = np.full((40, 32), 20 * number + len(split), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / f"{split}_{number}.png")
                table.writerow([f"{split}_{number}", f"Radiograph {number % 2}, Befund: größer."])
    return root


@pytest.fixture
def command(images: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Makes command lines of a run with random weights."""

    def make(*more: str, **settings: str) -> list[str]:
        parts = ["run", "--encoder", "timm:test_vit", "--random-weights", "--task", "caption"]
        parts += ["--dataset", f"folder:{images}", "--results", str(tmp_path / "results")]
        parts += ["--cache", str(tmp_path / "cache"), "--offline", "--device", "cpu"]
        for name, value in (FAST | settings).items():
            parts += ["--set", f"{name}={value}"]
        return [*parts, *more]

    return make


def run_in_process(arguments: list[str]) -> Any:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


NO_TORCH = """
import sys
from omnibench.cli import main
sys.argv = ["omnibench", *sys.argv[1:]]
try:
    main()
finally:
    assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (
            {"language_model": "facebook/bart-base"},
            5,
            (
                "model.safetensors of facebook/bart-base is not on this machine",
                "hf download facebook/bart-base model.safetensors config.json tokenizer.json",
                "--set language_model=PATH",
                "--set language_model=scratch",
            ),
        ),
        ({"language_model": "/nowhere/bart"}, 5, ("the folder lacks model.safetensors, config",)),
        ({"language_model": "bart"}, 2, ("language_model is 'bart'",)),
        ({"merger_tokens": "1025"}, 2, ("1024 positions, merger_tokens would take 1025",)),
    ],
    ids=["hub", "folder", "name", "positions"],
)
def test_what_is_missing_is_said_before_torch_is_imported(command, tmp_path, settings, code, said):
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, *command(**settings)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    for text in said:
        assert text in done.stderr
    assert "torch was imported" not in done.stderr


def test_one_json_object_and_one_table_a_decoding(command):
    done = run_in_process(command("--seeds", "2", "--json"))
    assert done.exit_code == 0, done.output
    cells = json.loads(done.stdout)
    assert [cell["variant"] for cell in cells] == ["beam1-6", "beam2-6"]
    for cell in cells:
        assert cell["seeds"] == [0, 1]
        assert next(iter(cell["metrics"])) == "bleu"
        assert len(cell["metrics"]["rouge_l"]["values"]) == 2
        assert any("language model from scratch" in note for note in cell["notes"])
        assert len(cell["pictures"]) == 1 and Path(cell["pictures"][0]).stat().st_size > 10_000
    assert cells[0]["validation"] and not cells[1]["validation"]
    shown = run_in_process(command("--seeds", "2")).stdout
    assert shown.count("mean ± sd over 2 seeds") == 2
    assert " · beam1-6" in shown and " · beam2-6" in shown


def test_a_killed_run_repeats_no_finished_seed(command, monkeypatch):
    train, trained = caption_run.train, []

    def stop_at_seed_1(encoder, texts, recipe, context, **named):
        if context.seed == 1 and 1 not in trained:
            trained.append(1)
            raise KeyboardInterrupt
        trained.append(context.seed)
        return train(encoder, texts, recipe, context, **named)

    monkeypatch.setattr(caption_run, "train", stop_at_seed_1)
    assert CliRunner().invoke(cli, command("--seeds", "2")).exit_code != 0
    assert trained == [0, 1]
    assert run_in_process(command("--seeds", "2")).exit_code == 0
    assert trained == [0, 1, 1]
    run_in_process(command("--seeds", "2"))
    assert trained == [0, 1, 1], "nothing is left to run"


def test_every_metric_is_recomputed_from_stored_texts(command, tmp_path):
    run_in_process(command("--seeds", "1"))
    done = run_in_process(["score", str(tmp_path / "results"), "--json"])
    verdicts = json.loads(done.stdout)
    assert len(verdicts) == 2 and all("equal" in line["verdict"] for line in verdicts)


def test_records_hold_texts_digests_and_no_paths(command, tmp_path):
    run_in_process(command("--seeds", "1"))
    for path in (tmp_path / "results" / "runs").rglob("*.json"):
        text = path.read_text()
        assert str(tmp_path) not in text and "test_0" not in text
        record = json.loads(text)
        assert set(record["predictions"]["arrays"]) >= {
            "test_id",
            "test_captions",
            "test_references",
        }
        assert "13a" in record["details"]["metrics"]["bleu"]


def test_other_datasets_are_refused(command):
    arguments = command()
    arguments[arguments.index("--dataset") + 1] = "busi"
    with pytest.raises(UsageError, match="dataset 'busi' has masks, this task needs captions"):
        run_in_process(arguments)
