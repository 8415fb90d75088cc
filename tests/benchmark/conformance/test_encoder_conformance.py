"""The kit finds each way in which an encoder breaks its contract, and nothing in sound ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import omnibench_plugins.encoders
from omnibench.cards import EncoderSpec, HubFile
from omnibench.conformance import Finding, assert_conforms, check_encoder
from omnibench.conformance.specimens import SpecimenEncoder, build, encoder_card
from omnibench.encoder import Encoder, Features
from omnibench.errors import PluginError
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.registry import Registry

RANDOM: Any = {"weights": None, "random_init": True}
Build = Callable[..., Encoder]


def card(build: Build, **changes: Any) -> EncoderSpec:
    return dataclasses.replace(encoder_card(), build=build, **changes)


def made_of(encoder: type[SpecimenEncoder]) -> Build:
    return lambda **how: encoder(build(**how).backbone)  # type: ignore[arg-type]


def check(card: EncoderSpec | EncoderHandle, *sizes: int) -> dict[str, Finding]:
    return {f.check: f for f in check_encoder(card, sizes=sizes or (64,))}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("omnirad-nano", (56,)), ("timm:test_vit", (160,)), ("timm:test_resnet", (64,))],
)
def test_sound_encoders_pass(name: str, sizes: tuple[int, ...]) -> None:
    offer = Registry.of(omnibench_plugins.encoders).encoder(name)
    findings = list(
        check_encoder(offer.card if name == "omnirad-nano" else _random(offer.card), sizes=sizes)
    )
    assert_conforms(findings)
    assert sum(f.status == "PASS" for f in findings) >= 20


def _random(card: EncoderSpec) -> EncoderHandle:
    return EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label=card.name)


def test_the_made_up_encoder_passes_with_own_and_with_random_parameters() -> None:
    assert_conforms(check_encoder(encoder_card(), sizes=(64, 72)))
    assert_conforms(check_encoder(_random(encoder_card()), sizes=(64,)))


class WithoutPositions(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        self.backbone.positions.data.zero_()  # type: ignore[union-attr]
        return super()._features(x)


class UnnormedTokens(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        states, _ = self.backbone(x)
        return super()._features(x)._replace(tokens=states[-1][:, 1:])


class ColumnsFirst(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        turned = found.tokens.unflatten(1, found.grid).transpose(1, 2).flatten(1, 2)
        return found._replace(tokens=turned)


class OddMaps(SpecimenEncoder):
    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        return [F.avg_pool2d(m, 2) for m in super()._intermediates(x, layers, norm)]


class Inference(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        with torch.inference_mode():
            return super()._features(x)


class Detached(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        return found._replace(pooled=found.pooled.detach())


class ReadsWeights(SpecimenEncoder):
    """Its blocks read a layer's weight and bypass the layer."""

    def _features(self, x: Tensor) -> Features:
        for block in self.backbone.blocks:  # type: ignore[union-attr]
            layer = block.fc2  # type: ignore[union-attr]
            block.forward = _bypassing(block, getattr(layer, "base_layer", layer))  # type: ignore[union-attr]
        return super()._features(x)


def _bypassing(block: Any, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        inner = F.gelu(block.fc1(block.norm2(x)))
        return type(block).forward(block, x) * 0 + x + F.linear(inner, layer.weight, layer.bias)

    return forward


class AnyScale(SpecimenEncoder):
    def prepare(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class OverflowsInHalf(SpecimenEncoder):
    def _features(self, x: Tensor) -> Features:
        found = super()._features(x)
        half = torch.is_autocast_enabled("cpu")
        return found._replace(pooled=found.pooled / 0) if half else found


class KeepsStatistics(SpecimenEncoder):
    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.register_buffer("statistics", torch.zeros(3))


def takes_junk(*, weights: Any = None, random_init: bool = False) -> Encoder:
    return build(weights=None, random_init=random_init)


def draws(*, weights: Any = None, random_init: bool = False) -> Encoder:
    return build(weights=weights, random_init=random_init or weights is None)


def never_draws(*, weights: Any = None, random_init: bool = False) -> Encoder:
    return build(weights=weights)


@pytest.mark.parametrize(
    ("broken", "sentence", "complaint"),
    [
        (made_of(WithoutPositions), "it knows where a patch is", "does not know where a patch is"),
        (
            made_of(UnnormedTokens),
            "the last map, normed, is the patch tokens",
            "normed, row by row",
        ),
        (made_of(ColumnsFirst), "the last map, normed, is the patch tokens", "row by row"),
        (made_of(OddMaps), "its features and maps fit images of 64 px", r"make \(8, 8\)"),
        (made_of(Inference), "a head on its frozen features can learn", "nference tensor"),
        (
            made_of(Detached),
            "it can be tuned",
            "no parameter gets a gradient|does not require grad",
        ),
        (
            made_of(ReadsWeights),
            "LoRA adapters learn, and merge exactly",
            "LoRA adapters get no gradient",
        ),
        (made_of(AnyScale), "images outside [0, 1] are refused", "from 0 to 255 pass"),
        (
            made_of(OverflowsInHalf),
            "its features are finite in bf16",
            "pooled features are not finite",
        ),
        (made_of(KeepsStatistics), "its own state dict is a weights file", "keep them out"),
        (takes_junk, "a file that is no weights of it is refused", "load_checked"),
        (draws, "nothing in it is silently random", "28 of 42 tensors are drawn at random"),
        (never_draws, "its parameters are not random ones", "nothing was loaded"),
    ],
)
def test_what_is_broken_is_named(broken: Build, sentence: str, complaint: str) -> None:
    found = check(card(broken))[sentence]
    assert found.status == "FAIL"
    with pytest.raises(AssertionError, match=complaint):
        assert_conforms([found])


def test_a_file_that_is_not_loaded_back_is_named() -> None:
    found = check(card(takes_junk))
    assert found["its own state dict is a weights file"].status == "PASS", "it is what was saved"

    def loads_little(*, weights: Any = None, random_init: bool = False) -> Encoder:
        encoder = build(random_init=random_init)
        if weights is not None:
            encoder.backbone.cls_token.data.zero_()  # type: ignore[union-attr]
        return encoder

    lost = check(card(loads_little))["its own state dict is a weights file"]
    assert (
        lost.status == "FAIL" and "1 of 42 tensors" in lost.message and "cls_token" in lost.message
    )


@pytest.mark.parametrize("change", [{"embed_dim": 64}, {"depth": 12}, {"patch_size": 16}])
def test_a_card_that_says_something_else_is_named(change: dict[str, int]) -> None:
    found = check(card(build, **change))["its card is true"]
    assert found.status == "FAIL" and f"{next(iter(change))} " in found.message


def test_one_fault_is_told_once() -> None:
    class Wrong(SpecimenEncoder):
        def _features(self, x: Tensor) -> Features:
            return super()._features(x)._replace(prefix=torch.zeros(1))

    found = list(check(card(made_of(Wrong))).values())
    shape = [f for f in found if "prefix tokens have shape" in f.message]
    assert [f.status for f in shape] == ["FAIL"]
    assert sum("fails as" in f.message for f in found if f.status == "SKIP") > 5


def test_a_size_that_does_not_suit_is_skipped_and_one_must_suit() -> None:
    found = check(encoder_card(), 60, 64)
    assert found["its features and maps fit images of 60 px"].status == "SKIP"
    assert found["its features and maps fit images of 64 px"].status == "PASS"
    none = check(encoder_card(), 60)["its features and maps fit images of 60 px"]
    assert none.status == "FAIL" and "takes none of the sizes [60]" in none.message


def test_missing_weights_are_named_and_cards_with_a_source_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from omnibench import weights
    from omnibench.errors import WeightsMissing

    source = HubFile(repo="nobody/nothing-of-this-name")
    assert check(card(build, source=source))["missing weights are named at once"].status == "PASS"

    def unnamed(*_: Any, **__: Any) -> Any:
        raise WeightsMissing("the file is not there")

    monkeypatch.setattr(weights, "resolve", unnamed)
    found = check(card(build, source=source))["missing weights are named at once"]
    assert found.status == "FAIL" and "nobody/nothing" in found.message


def test_what_cannot_be_built_is_an_error() -> None:
    def fails(**_: Any) -> Encoder:
        raise KeyError("blocks")

    with pytest.raises(PluginError, match="cannot be built: KeyError"):
        list(check_encoder(card(fails)))


class Upsampler(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, classes, 3, padding=1)
        self.idle = nn.Linear(20, 20)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        return logits


def network(build: Callable[..., nn.Module]) -> EncoderSpec:
    return EncoderSpec(name="a-network", end_to_end=True, build_end_to_end=build)


def test_whole_networks_have_checks_of_their_own() -> None:
    sound = network(lambda classes: nn.Conv2d(3, classes, 3, padding=1))
    assert_conforms(check_encoder(sound))
    with pytest.raises(
        AssertionError, match=r"2 parameters, 83% of all values, get .*\(idle.weight"
    ):
        assert_conforms(check_encoder(network(Upsampler)))
    with pytest.raises(AssertionError, match=r"shape \(2, 1, 128, 128\), \(2, 3, 128, 128\) was"):
        assert_conforms(check_encoder(network(lambda classes: nn.Conv2d(3, 1, 3, padding=1))))


def test_nothing_checked_is_no_success() -> None:
    with pytest.raises(AssertionError, match="nothing was checked"):
        assert_conforms([])
