"""The encoder contract: normalisation, pooling, freezing, sizes, layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnibench.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, Features, thirds
from omnibench.errors import PluginError, UsageError


class Toy(Encoder):
    """Patch embedding, one class token that is the image's mean, dropout to betray train mode."""

    def __init__(self, prefix: bool = True) -> None:
        torch.manual_seed(0)
        backbone = nn.ModuleDict({"embed": nn.Conv2d(3, 8, 4, 4), "drop": nn.Dropout(0.5)})
        super().__init__(
            backbone,
            embed_dim=8,
            pooled_dim=3,
            patch_size=4,
            depth=6,
            mean=(0.5, 0.4, 0.3),
            std=(0.1, 0.2, 0.5),
        )
        self.with_prefix = prefix
        self.seen = torch.empty(0)

    def _features(self, x: Tensor) -> Features:
        self.seen = x
        maps = self.backbone["drop"](self.backbone["embed"](x))  # type: ignore[index]
        tokens = maps.flatten(2).transpose(1, 2)
        prefix = tokens.amax(1, keepdim=True) if self.with_prefix else None
        return Features(x.mean((2, 3)), tokens, prefix, (maps.shape[2], maps.shape[3]))

    def _intermediates(self, x: Tensor, layers: tuple[int, ...], norm: bool) -> list[Tensor]:
        return [self.backbone["embed"](x) + i for i in layers]  # type: ignore[index]


IMAGES = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def test_own_normalisation_is_the_models_and_imagenet_is_imagenets() -> None:
    toy = Toy().eval()
    toy(IMAGES)
    own = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.1, 0.2, 0.5]).view(3, 1, 1)
    assert torch.equal(toy.seen, (IMAGES - own[0]) / own[1])
    toy.configure(normalization="imagenet", pool="checkpoint")(IMAGES)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.equal(toy.seen, (IMAGES - mean) / std)
    toy.configure(normalization="own", pool="checkpoint")(IMAGES)
    assert torch.equal(toy.seen, (IMAGES - own[0]) / own[1])


def test_pooling_and_its_width_follow_the_recipe() -> None:
    toy = Toy().eval()
    for pool, width in (("checkpoint", 3), ("cls", 8), ("avg", 8)):
        features = toy.configure(normalization="own", pool=pool)(IMAGES)  # type: ignore[arg-type]
        assert toy.pooled_dim == width == features.pooled.shape[1]
        if pool == "cls":
            assert torch.equal(features.pooled, features.prefix[:, 0])
        if pool == "avg":
            assert torch.equal(features.pooled, features.tokens.mean(1))


def test_a_class_token_that_is_not_there_cannot_be_pooled() -> None:
    toy = Toy(prefix=False).configure(normalization="own", pool="cls")
    with pytest.raises(UsageError, match="no class token; use --set pool=avg"):
        toy(IMAGES)


def test_frozen_means_eval_mode_and_no_gradient_also_under_train() -> None:
    toy = Toy().freeze()
    holder = nn.Sequential(toy).train()
    assert holder.training and not any(m.training for m in toy.modules())
    first, second = toy(IMAGES), toy(IMAGES)
    assert torch.equal(first.tokens, second.tokens)
    assert not first.tokens.requires_grad and not toy.intermediates(IMAGES)[0].requires_grad


def test_an_encoder_that_is_not_frozen_trains() -> None:
    toy = Toy().train()
    assert not torch.equal(toy(IMAGES).tokens, toy(IMAGES).tokens)
    toy(IMAGES).tokens.sum().backward()
    assert toy.backbone["embed"].weight.grad.abs().sum() > 0  # type: ignore[index,union-attr]


def test_a_head_can_learn_on_frozen_features() -> None:
    head = nn.Linear(3, 1)
    head(Toy().freeze()(IMAGES).pooled).sum().backward()
    assert head.weight.grad is not None


def test_normalisation_is_not_part_of_the_state_dict() -> None:
    assert set(Toy().state_dict()) == {"backbone.embed.weight", "backbone.embed.bias"}


def test_sizes_that_do_not_fit_are_refused_with_one_that_does() -> None:
    with pytest.raises(UsageError, match=r"9x12 is not a multiple of the patch size 4.*=8"):
        Toy()(torch.rand(1, 3, 9, 12))
    with pytest.raises(PluginError, match=r"not \(1, 1, 8, 8\)"):
        Toy()(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("layers", [(3, 1), (1, 1), (0, 6), (-1, 2)])
def test_layers_must_ascend_and_exist(layers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="strictly ascending block indices from 0 to 5"):
        Toy().intermediates(IMAGES, layers)


def test_dense_layers_end_each_third() -> None:
    assert thirds(12) == (3, 7, 11) and thirds(6) == (1, 3, 5) and thirds(24) == (7, 15, 23)
    assert len(Toy().intermediates(IMAGES)) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"pooled": torch.zeros(2, 5)}, r"pooled features have shape \(2, 5\), \(2, 3\)"),
        ({"tokens": torch.zeros(2, 4, 8)}, r"patch tokens have shape \(2, 4, 8\), \(2, 6, 8\)"),
        ({"prefix": torch.zeros(2, 1, 7)}, r"prefix tokens have shape .*\(2, any, 8\)"),
        ({"grid": (1, 1)}, r"patch tokens have shape \(2, 6, 8\), \(2, 1, 8\)"),
    ],
)
def test_features_of_other_shapes_than_the_contracts_are_refused(
    change: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    right = toy._features(IMAGES)
    monkeypatch.setattr(toy, "_features", lambda x: right._replace(**change))
    with pytest.raises(PluginError, match=complaint):
        toy(IMAGES)
    monkeypatch.setattr(toy, "_features", lambda x: None)
    with pytest.raises(PluginError, match="_features returned NoneType"):
        toy(IMAGES)


@pytest.mark.parametrize(
    ("maps", "complaint"),
    [
        (None, "did not return a list of 3 maps"),
        ([torch.zeros(2, 8, 2, 3)], "did not return a list of 3 maps"),
        ([torch.zeros(2, 5, 2, 3)] * 3, r"maps of layer 1 have shape \(2, 5, 2, 3\), \(2, 8, any"),
        ([torch.zeros(2, 6, 8)] * 3, "maps of layer 1 have shape"),
    ],
)
def test_maps_of_other_shapes_than_the_contracts_are_refused(
    maps: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    monkeypatch.setattr(toy, "_intermediates", lambda x, layers, norm: maps)
    with pytest.raises(PluginError, match=complaint):
        toy.intermediates(IMAGES)
