"""What every built-in architecture must do, on random parameters (encoder notes, section 1c)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import omnibench_plugins.encoders
from omnibench.encoder import Encoder
from omnibench.errors import UsageError
from omnibench.registry import Registry

REGISTRY = Registry.of(omnibench_plugins.encoders)
# One of each architecture: radio-dino-* is dino-*'s; mae-base and vit-* differ in statistics only.
NAMES = (
    "omnirad-small",
    "omnirad-base",
    "dino-small",
    "dino-base",
    "dinov2-small",
    "dinov2-base",
    "dinov3-small",
    "dinov3-base",
    "clip-base",
    "clip-base-openai",
)
PREFIX = {"dinov3-small": 5, "dinov3-base": 5}


@pytest.fixture(scope="module", params=NAMES)
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, Encoder]]:
    torch.manual_seed(0)
    build = REGISTRY.encoder(request.param).card.build
    assert build is not None
    yield request.param, build(random_init=True).eval()


def images(size: int = 224) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_intermediates_are_the_blocks_outputs_bit_for_bit(named: tuple[str, Encoder]) -> None:
    name, encoder = named
    seen: dict[int, Tensor] = {}
    hooks = [
        encoder.backbone.blocks[i].register_forward_hook(  # type: ignore[index,union-attr]
            lambda _, __, out, i=i: seen.__setitem__(i, out)
        )
        for i in (3, 7, 11)
    ]
    features = encoder(images())
    for hook in hooks:
        hook.remove()
    side = 224 // encoder.patch_size
    maps = encoder.intermediates(images(), (3, 7, 11))
    for layer, got in zip((3, 7, 11), maps, strict=True):
        tokens = seen[layer][:, PREFIX.get(name, 1) :]
        assert got.shape == (1, encoder.embed_dim, side, side)
        assert torch.equal(got.flatten(2).transpose(1, 2), tokens)
    # with the final norm, the last block's map is what `tokens` holds
    last = encoder.intermediates(images(), (11,), norm=True)[0]
    assert torch.equal(last.flatten(2).transpose(1, 2), features.tokens)


@torch.no_grad()
def test_features_have_the_promised_shapes(named: tuple[str, Encoder]) -> None:
    name, encoder = named
    features = encoder(images())
    side = 224 // encoder.patch_size
    assert features.grid == (side, side)
    assert features.tokens.shape == (1, side * side, encoder.embed_dim)
    assert features.prefix is not None
    assert features.prefix.shape == (1, PREFIX.get(name, 1), encoder.embed_dim)
    # the checkpoint's own pooling: class token, but DINOv3's mean of patches
    own = features.tokens.mean(1) if name.startswith("dinov3") else features.prefix[:, 0]
    assert torch.equal(features.pooled, own)
    assert torch.isfinite(features.pooled).all()


@torch.no_grad()
def test_random_encoders_tell_images_apart(named: tuple[str, Encoder]) -> None:
    _, encoder = named
    other = images().flip(-1)
    ours, theirs = encoder(images()).tokens.mean(1), encoder(other).tokens.mean(1)
    assert torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(ours) > 1e-4


def shuffled(x: Tensor, patch: int, order: Tensor) -> Tensor:
    """Reorder the patches of square images [1, 3, S, S]."""
    columns = nn.functional.unfold(x, patch, stride=patch)
    return nn.functional.fold(columns[:, :, order], x.shape[-2:], patch, stride=patch)


def shuffle_difference(encoder: Encoder, function: str) -> float:
    """Relative difference between features of shuffled patches and shuffled features."""
    x = images(112)
    count = (112 // encoder.patch_size) ** 2
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2))

    def run(y: Tensor) -> Tensor:
        if function == "features":
            return encoder(y).tokens
        return encoder.intermediates(y, (11,))[0].flatten(2).transpose(1, 2)

    plain, moved = run(x)[:, order], run(shuffled(x, encoder.patch_size, order))
    return float(torch.linalg.vector_norm(plain - moved) / torch.linalg.vector_norm(plain))


@torch.no_grad()
@pytest.mark.parametrize("function", ["features", "intermediates"])
def test_positions_matter(named: tuple[str, Encoder], function: str) -> None:
    """Calling DINOv3's blocks without their rotation loses all position (encoder notes, 2)."""
    assert shuffle_difference(named[1], function) > 1e-3


@torch.no_grad()
def test_without_its_rotary_positions_dinov3_would_only_shuffle() -> None:
    torch.manual_seed(0)
    build = REGISTRY.encoder("dinov3-small").card.build
    assert build is not None
    encoder = build(random_init=True).eval()
    for block in encoder.backbone.blocks:
        forward = block.attn.forward
        block.attn.forward = lambda x, rope=None, forward=forward, **options: forward(x, **options)
    assert shuffle_difference(encoder, "features") < 1e-4


@torch.no_grad()
def test_sizes_from_224_to_448_run_and_others_are_refused() -> None:
    for name in ("omnirad-small", "dino-small", "dinov3-small"):
        build = REGISTRY.encoder(name).card.build
        assert build is not None
        encoder = build(random_init=True).eval()
        side = 448 // encoder.patch_size
        assert encoder(images(448)).grid == (side, side)
        assert encoder(torch.rand(1, 3, 112, 224)).grid == (
            112 // encoder.patch_size,
            224 // encoder.patch_size,
        )
        with pytest.raises(UsageError, match="not a multiple of the patch size"):
            encoder(images(250))


def test_frozen_encoders_are_deterministic_under_train_and_carry_no_gradient() -> None:
    build = REGISTRY.encoder("dino-small").card.build
    assert build is not None
    encoder = build(random_init=True).freeze().train()
    one, two = encoder(images()), encoder(images())
    assert torch.equal(one.tokens, two.tokens) and not one.tokens.requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())


def test_layer_scale_of_random_encoders_is_one() -> None:
    for name, key in (("dinov2-small", "ls1.gamma"), ("dinov3-small", "gamma_1")):
        build = REGISTRY.encoder(name).card.build
        assert build is not None
        scale = build(random_init=True).backbone.state_dict()[f"blocks.0.{key}"]
        assert torch.equal(scale, torch.ones_like(scale))
