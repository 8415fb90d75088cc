"""The CNN baselines: whole networks, drawn anew."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

import omnibench_plugins.encoders
from omnibench.errors import SetupError
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.registry import Registry

REGISTRY = Registry.of(omnibench_plugins.encoders)
# Encoder notes, section 3: millions of parameters at 2 classes.
MILLIONS = {
    "unet-resnet18": 14.33,
    "unet-resnet50": 32.52,
    "unet-densenet121": 13.61,
    "unet-efficientnet-b0": 6.25,
    "unet-mobilenet-v2": 6.63,
}


def network(name: str, classes: int = 2) -> torch.nn.Module:
    card = REGISTRY.encoder(name).card
    handle = EncoderHandle(card=card, weights=WeightsChoice(kind="own"), label=name)
    return handle.build_end_to_end(classes)


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_as_many_as_measured(name: str) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    count = sum(p.numel() for p in network(name).parameters())
    assert round(count / 1e6, 2) == MILLIONS[name]


@torch.no_grad()
def test_images_become_logits_of_the_same_size() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    unet = network("unet-resnet18", classes=4).eval()
    assert unet(torch.full((2, 3, 64, 96), 0.5)).shape == (2, 4, 64, 96)


def test_each_network_is_drawn_anew_from_the_global_stream() -> None:
    pytest.importorskip("segmentation_models_pytorch")

    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(network("unet-resnet18").parameters()).detach()

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


def test_without_the_extra_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("segmentation_models_pytorch"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupError, match=r"pip install 'omnibench\[cnn\]'"):
        network("unet-resnet18")
