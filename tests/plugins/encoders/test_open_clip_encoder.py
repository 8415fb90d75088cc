"""open_clip image towers: equal to timm's with the same weights, at any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from omnibench.encoder import Encoder
from omnibench.errors import IntegrityError, UsageError
from omnibench_plugins.encoders import open_clip_encoder, timm_encoder

TAG = "datacomp_xl_s13b_b90k"


def images(size: int = 224) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return open_clip_encoder.build("ViT-B-16", TAG, random_init=True).eval()


@pytest.fixture(scope="module")
def file(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open_clip") / "open_clip_model.safetensors"
    text = {"positional_embedding": torch.zeros(77, 512), "token_embedding.weight": torch.ones(2)}
    save_file(encoder.backbone.state_dict() | text, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("size", [224, 320])
def test_the_same_weights_give_the_same_features_as_timm(
    encoder: Encoder, file: Path, size: int
) -> None:
    ours = open_clip_encoder.build("ViT-B-16", TAG, weights=file).eval()
    timms = timm_encoder.build("vit_base_patch16_clip_224.laion2b", weights=file).eval()
    a, b = ours(images(size)), timms(images(size))
    assert a.grid == b.grid and a.prefix is not None and b.prefix is not None
    for mine, theirs in ((a.tokens, b.tokens), (a.prefix, b.prefix), (a.pooled, b.pooled)):
        assert mine.shape == theirs.shape and torch.allclose(mine, theirs, atol=2e-5)
    for norm in (False, True):
        pairs = zip(
            ours.intermediates(images(size), norm=norm),
            timms.intermediates(images(size), norm=norm),
            strict=True,
        )
        assert all(torch.allclose(m, t, atol=5e-5) for m, t in pairs)


@torch.no_grad()
def test_intermediates_are_the_blocks_outputs(encoder: Encoder) -> None:
    seen: list[Tensor] = []
    block = encoder.backbone.visual.transformer.resblocks[3]  # type: ignore[index,union-attr]
    hook = block.register_forward_hook(lambda _, __, out: seen.append(out))
    got = encoder.intermediates(images(), (3,))[0]
    hook.remove()
    assert torch.equal(got.flatten(2).transpose(1, 2), seen[0][:, 1:])


def test_every_lora_adapter_is_used(encoder: Encoder) -> None:
    """Adapting the attention's output projection alone has no effect (encoder notes, 3)."""
    from peft import LoraConfig, get_peft_model

    fresh = open_clip_encoder.build("ViT-B-32", "", random_init=True)
    config = LoraConfig(r=1, target_modules=fresh.lora_targets, init_lora_weights=False)
    adapted = get_peft_model(fresh.backbone, config)
    fresh.backbone = adapted
    for size in (224, 64):  # the native grid, and one with resampled positions
        adapted.zero_grad()
        fresh(images(size)).pooled.square().sum().backward()
        gradients = [p.grad for n, p in adapted.named_parameters() if "lora_B" in n]
        assert len(gradients) == 48
        assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients)


def test_quick_gelu_follows_the_weights_not_the_name() -> None:
    act = {}
    for tag in ("openai", TAG):
        with torch.device("meta"):
            tower = open_clip_encoder.build("ViT-B-16", tag, random_init=True).backbone
        act[tag] = type(tower.visual.transformer.resblocks[0].mlp.gelu).__name__
    assert act == {"openai": "QuickGELU", TAG: "GELU"}


@torch.no_grad()
def test_a_timm_tower_inside_open_clip_loads_and_brings_open_clips_statistics(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    drawn = open_clip_encoder.build("MobileCLIP-S1", "datacompdr", random_init=True).eval()
    state = {f"visual.trunk.{k}": v for k, v in drawn.backbone.state_dict().items()}
    save_file(state | {"logit_scale": torch.zeros(1)}, tmp_path / "w.safetensors")
    loaded = open_clip_encoder.build(
        "MobileCLIP-S1", "datacompdr", weights=tmp_path / "w.safetensors"
    ).eval()
    assert torch.equal(loaded(images()).pooled, drawn(images()).pooled)
    assert loaded._own_statistics == ((0.0,) * 3, (1.0,) * 3)


def test_a_wrong_file_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(IntegrityError, match="of another shape"):
        open_clip_encoder.build("ViT-B-32", "openai", weights=file)
    save_file({"foo": torch.zeros(1)}, tmp_path / "junk.safetensors")
    with pytest.raises(IntegrityError, match="missing"):
        open_clip_encoder.build("ViT-B-16", TAG, weights=tmp_path / "junk.safetensors")


@pytest.mark.parametrize(
    ("arch", "random", "words"),
    [
        ("coca_ViT-B-32", True, "pools without a class token"),
        ("ViT-B-16", False, "names no published weights; write open_clip:ViT-B-16/TAG"),
    ],
)
def test_what_cannot_be_used_is_refused(arch: str, random: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_clip_encoder.build(arch, "", random_init=random)
