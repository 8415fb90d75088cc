"""Encoders that break their contract in a run: stopped before training, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench.conformance.specimens import SpecimenEncoder, build
from omnibench.encoder import Encoder, Features
from omnibench.features.frozen import FrozenFeatures
from omnibench.guards import parameters_digest

RANDOM: Any = {"weights": None, "random_init": True}


class WrongShape(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=found.pooled[:, :-1])


class WrongType(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(tokens=found.tokens.double())


class WrongGrid(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(grid=(1, found.tokens.shape[1]))


class ListOfTensors(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        return list(super()._features(x))  # type: ignore[return-value]


class TooFewMaps(SpecimenEncoder):
    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        return super()._intermediates(x, layers, norm)[1:]


class MovesItsWeights(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        with torch.no_grad():
            self.backbone.get_submodule("norm").weight.mul_(1 + 1e-7)  # type: ignore[union-attr]
            self.backbone.get_submodule("norm").weight.add_(1e-6)  # type: ignore[union-attr]
        return found


class WritesToItsInput(SpecimenEncoder):
    def prepare(self, images: Tensor) -> Tensor:
        return images.sub_(self.mean).div_(self.std)


class AsksForGradients(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        with torch.enable_grad():
            scale = torch.ones((), requires_grad=True)
            found = super()._features(x)
            return found._replace(tokens=found.tokens * scale)


class DropsInEvalMode(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=F.dropout(found.pooled, 0.1, training=True))


class NotANumber(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=found.pooled / 0 * 0)


class Constant(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=torch.ones_like(found.pooled))


class LooksAtItsNeighbours(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=found.pooled - 0.1 * found.pooled.mean(0))


class LeftInTrainMode(SpecimenEncoder):
    def train(self, mode: bool = True) -> LeftInTrainMode:
        return nn.Module.train(self, mode)


class TrainsItsBackbone(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        self.backbone.train()
        return super()._features(x)


class RaisesOnImages(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        raise IndexError("layer 12")


HOSTILE = [
    (WrongShape, r"pooled features have shape \(2, 31\)"),
    (WrongType, r"patch tokens are torch.float64; return torch.float32"),
    (WrongGrid, r"token grid 1x784"),
    (ListOfTensors, r"returned list, omnibench.encoder.Features was expected"),
    (TooFewMaps, r"did not return a list of 3 maps"),
    (MovesItsWeights, r"parameters or buffers changed in a forward pass"),
    (WritesToItsInput, r"writes to the images it is given"),
    (AsksForGradients, r"gradients are asked of patch tokens"),
    (DropsInEvalMode, r"pooled features of one picture differ between two forward passes"),
    (NotANumber, r"pooled features hold values that are not finite"),
    (Constant, r"pooled features are the same for two different pictures"),
    (LooksAtItsNeighbours, r"pooled features of a picture move by .* use no statistics"),
    # Frozen and yet in train mode, in two ways.
    (LeftInTrainMode, r"26 of its modules are in training mode although it is frozen"),
    (TrainsItsBackbone, r"modules are in training mode although it is frozen"),
    (RaisesOnImages, r"cannot encode images: IndexError: layer 12 \(.*test_guards.py, line \d+"),
]


@pytest.mark.parametrize(("hostile", "complaint"), HOSTILE)
def test_an_encoder_that_breaks_its_contract_is_stopped_before_training(
    run_toy: Any, toy: Any, caplog: pytest.LogCaptureFixture, hostile: Any, complaint: str
) -> None:
    def build_hostile(*, weights: Path | None, random_init: bool) -> Encoder:
        torch.manual_seed(0)
        return hostile(build(**RANDOM).backbone)  # type: ignore[no-any-return]

    (record,) = run_toy(build_hostile)
    assert record.status == "failed" and record.failure["kind"] == "plugin"
    assert toy.task.runs == [], "nothing was trained, and no other seed tried"
    assert len(caplog.messages) == 1
    assert re.search(complaint, caplog.text), caplog.text
    assert (
        "'toy-encoder'" in caplog.text or "_intermediates" in caplog.text or "shape" in caplog.text
    )


def sound(*, weights: Path | None, random_init: bool) -> Encoder:
    return build(weights=weights, random_init=random_init)


def test_the_same_encoder_without_the_fault_runs(run_toy: Any, toy: Any) -> None:
    assert [record.status for record in run_toy(sound)] == ["complete"] * 3
    assert toy.task.runs == [0, 1, 2]


def half_loaded(*, weights: Path | None, random_init: bool) -> Encoder:
    encoder = build(weights=weights, random_init=random_init)
    if weights is not None:
        encoder.backbone.positions.data = torch.randn(1, 32, 8, 8)  # type: ignore[union-attr]
    return encoder


def ignored(*, weights: Path | None, random_init: bool) -> Encoder:
    return build(**RANDOM)


def seeded_and_ignored(*, weights: Path | None, random_init: bool) -> Encoder:
    torch.manual_seed(3)
    return build(**RANDOM)


@pytest.mark.parametrize(
    ("not_loading", "complaint"),
    [
        (half_loaded, "1 of 42 tensors of encoder 'toy-encoder' are random .*backbone.positions"),
        (ignored, "28 of 42 tensors of encoder 'toy-encoder' are random although weights were"),
        (seeded_and_ignored, "'toy-encoder' has random parameters although weights were given"),
    ],
)
def test_weights_that_silently_did_not_load_are_an_error(
    run_toy: Any,
    toy: Any,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    not_loading: Callable[..., Encoder],
    complaint: str,
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(build().backbone.state_dict(), file)
    (record,) = run_toy(not_loading, random_weights=False, weights=file)
    assert record.failure["kind"] == "integrity" and toy.task.runs == []
    assert re.search(complaint, caplog.text), caplog.text
    loaded = run_toy(sound, random_weights=False, weights=file)
    assert [record.status for record in loaded] == ["complete"] * 3


def test_what_the_store_knows_is_not_looked_at_again(
    run_toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_toy(sound)[0]
    looked: list[int] = []
    original = SpecimenEncoder._features
    monkeypatch.setattr(
        SpecimenEncoder, "_features", lambda self, x: looked.append(1) or original(self, x)
    )
    again = run_toy(sound, results=tmp_path / "other")[0]
    assert not looked
    assert again.encoder["parameters_sha256"] == first.encoder["parameters_sha256"]
    run_toy(sound, results=tmp_path / "third", no_cache=True)
    assert len(looked) == 3, "one batch of two, and twice one picture, for all three seeds"


def test_records_hold_the_digest_of_random_loaded_and_own_parameters(
    run_toy: Any, tmp_path: Path
) -> None:
    own = parameters_digest(build())
    file = tmp_path / "weights.safetensors"
    save_file(build().backbone.state_dict(), file)
    found = {
        "random": run_toy(sound),
        "own": run_toy(sound, random_weights=False),
        "file": run_toy(sound, random_weights=False, weights=file),
    }
    digests = {kind: {r.encoder["parameters_sha256"] for r in rs} for kind, rs in found.items()}
    assert digests["own"] == digests["file"] == {own}
    assert len(digests["random"]) == 1 and digests["random"] != {own}
    assert len(found["random"][0].identity["encoder"]) == 5, "the identity is what it was"


def test_records_say_which_data_code_and_software_made_them(
    run_toy: Any, toy_registry: Any
) -> None:
    record = run_toy(sound)[0]
    assert record.identity["dataset"]["content_sha256"] == "ab" * 32
    assert set(record.code) == {"git_commit", "dirty", "semantic_sha256"}
    assert isinstance(record.code["dirty"], bool) and len(record.code["semantic_sha256"]) == 64
    assert record.environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert len(record.environment["packages_sha256"]) == 64


class ChangesLate(SpecimenEncoder):
    """Behaves while it is looked at, and then moves its weights."""

    passes = 0

    def _features(self, x: Tensor) -> Features:
        self.passes += 1
        if self.passes > 4:
            with torch.no_grad():
                self.backbone.get_submodule("norm").bias.add_(1e-3)  # type: ignore[union-attr]
        return super()._features(x)


def test_a_frozen_encoder_that_changes_after_the_guard_gives_no_record(
    run_toy: Any, toy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from omnibench.features.readings import POOLED

    original = type(toy.task).run

    def reading(self: Any, handle: Any, dataset: Any, recipe: Any, context: Any) -> Any:
        features: FrozenFeatures = handle.features(
            POOLED, normalization="own", size=32, antialias=True, device="cpu", precision="fp32"
        )
        for _ in range(6):  # as training on augmented images does
            features.reading.read(features.encoder, torch.rand(1, 3, 32, 32))
        yield from original(self, handle, dataset, recipe, context)

    monkeypatch.setattr(type(toy.task), "run", reading)

    def build_late(*, weights: Path | None, random_init: bool) -> Encoder:
        return ChangesLate(build(**RANDOM).backbone)  # type: ignore[arg-type]

    (record,) = run_toy(build_late)
    assert record.failure["kind"] == "plugin"
    assert "is frozen, yet its parameters or buffers changed in a run" in caplog.text
