"""The checkpoint inside the package: it loads everywhere, is small, and sees more than chance."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch

import omnibench_plugins.encoders
from omnibench.errors import IntegrityError
from omnibench.registry import Registry
from omnibench_plugins.encoders import omnirad as card_module
from omnirad.knn_probe import Probe
from omnirad.knn_scores import scores
from omnirad.model import create_model
from omnirad.weights import SHIPPED

NANO = SHIPPED / "nano"
ROOT = Path(__file__).parents[2]


def images(size: int) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_folder_holds_what_a_reader_needs_and_is_small():
    assert {p.name for p in NANO.iterdir()} == {
        *("config.json", "model.safetensors", "log.jsonl", "metrics.json", "README.md")
    }
    assert (NANO / "model.safetensors").stat().st_size <= 12_000_000
    assert sum(p.stat().st_size for p in NANO.iterdir()) <= 12_500_000
    assert all(json.loads(line) for line in (NANO / "log.jsonl").read_text().splitlines())


def test_timm_and_omnirad_and_the_card_give_the_same_features_at_every_size():
    encoder = Registry.of(omnibench_plugins.encoders).encoder("omnirad-nano").card.build()
    for size in (56, 112, 224):
        options = {"dynamic_img_size": True}
        ours = create_model("nano", **options).eval()
        theirs = timm.create_model(f"local-dir:{NANO}", pretrained=True, **options).eval()
        with torch.no_grad():
            assert torch.equal(ours(images(size)), theirs(images(size)))
            assert torch.equal(ours(images(size)), encoder.backbone.eval()(images(size)))


def test_the_card_agrees_with_the_encoder_and_names_its_origin():
    card = Registry.of(omnibench_plugins.encoders).encoder("omnirad-nano").card
    encoder = card.build(random_init=True)
    facts = (encoder.embed_dim, encoder.patch_size, encoder.depth, encoder.lora_targets)
    assert facts == (card.embed_dim, card.patch_size, card.depth, card.lora_targets)
    assert encoder.dense_layers == (0, 1, 2)
    assert "DINOv2-S" in card.notes and card.source is None


def test_weights_that_were_changed_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "nano"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(
        (NANO / "model.safetensors").read_bytes()[:-2] + b"xx"
    )
    monkeypatch.setattr("omnirad.weights.SHIPPED", tmp_path)
    with pytest.raises(IntegrityError, match="install it again"):
        card_module.build_nano()


def test_neighbours_of_pneumonia_images_beat_chance_and_random_weights(test_data):
    """The gate: accuracy of at least 0.80, and 0.05 above random weights."""
    probe = Probe(f"npz:{test_data}/data/medmnist/pneumoniamnist.npz", split="test", img_size=56)
    trained = scores(probe.encoder(create_model("nano")), probe.labels)
    untrained = scores(probe.random("nano"), probe.labels)
    assert trained["accuracy"] >= 0.80
    assert trained["accuracy"] >= untrained["accuracy"] + 0.05
    printed = json.loads((NANO / "metrics.json").read_text())
    table = printed["test"][str(printed["seed"])]["pneumoniamnist"]
    assert trained["accuracy"] == pytest.approx(table["weights"]["accuracy"][0], abs=0.005)


@pytest.mark.slow
def test_a_built_wheel_contains_the_weights(tmp_path):
    command = ["pip", "wheel", str(ROOT), "--no-deps", "-q", "-w", str(tmp_path)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in NANO.iterdir():
        assert f"omnirad/weights/nano/{path.name}" in names
