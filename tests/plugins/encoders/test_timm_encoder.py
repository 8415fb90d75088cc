"""Any timm model as an encoder: prefixes, hierarchies, sizes, LoRA, names."""

from __future__ import annotations

import re

import pytest
import torch
from timm.models import create_model
from torch import Tensor

from omnibench.encoder import Encoder
from omnibench.errors import UsageError
from omnibench_plugins.encoders.timm_encoder import TimmEncoder, build

# name, prefix tokens (None where there is no class token), patch size, depth, dense layers
MODELS = [
    ("test_vit", 1, 16, 6, (1, 3, 5)),
    ("test_vit2", None, 16, 8, (2, 4, 7)),  # average pooling, no class token
    ("test_vit3", None, 16, 9, (2, 5, 8)),  # attention pooling, as SigLIP
    ("vit_pwee_patch16_reg1_gap_256", None, 16, 16, (4, 10, 15)),  # registers, no class token
    ("test_resnet", None, 1, 5, (2, 3, 4)),
    ("swin_tiny_patch4_window7_224", None, 1, 4, (1, 2, 3)),
    ("davit_tiny", None, 1, 4, (1, 2, 3)),
    ("mobilenetv3_small_050", None, 1, 5, (2, 3, 4)),  # pools to more channels than its maps have
    ("deit_tiny_distilled_patch16_224", 2, 16, 12, (3, 7, 11)),
]


def images(*shape: int) -> Tensor:
    return torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1))


def made(arch: str) -> Encoder:
    torch.manual_seed(0)
    return build(arch, random_init=True).eval()


@torch.no_grad()
@pytest.mark.parametrize(("arch", "prefix", "patch", "depth", "dense"), MODELS)
def test_every_kind_of_model_fits_the_contract(
    arch: str, prefix: int | None, patch: int, depth: int, dense: tuple[int, ...]
) -> None:
    encoder = made(arch)
    assert (encoder.patch_size, encoder.depth, encoder.dense_layers) == (patch, depth, dense)
    features = encoder(images(224, 224))
    height, width = features.grid
    assert features.pooled.shape == (2, encoder.pooled_dim)
    assert features.tokens.shape == (2, height * width, encoder.embed_dim)
    if prefix is None:
        assert features.prefix is None
    else:
        assert features.prefix is not None
        assert features.prefix.shape == (2, prefix, encoder.embed_dim)
    maps = encoder.intermediates(images(224, 224))
    assert [m.shape[1] for m in maps] == [encoder.layer_channels[i] for i in dense]
    assert maps[-1].shape[-2:] == (height, width)


@torch.no_grad()
@pytest.mark.parametrize(
    "arch", ["test_vit", "test_vit2", "test_resnet", "swin_tiny_patch4_window7_224"]
)
def test_tokens_are_row_major(arch: str) -> None:
    encoder = made(arch)
    features = encoder(images(160, 224))
    height, width = features.grid
    assert width > height
    last = encoder.intermediates(images(160, 224), (encoder.depth - 1,), norm=True)[0]
    assert last.shape[-2:] == features.grid
    if arch.startswith("test"):  # Swin's own final norm is not part of its maps
        assert torch.allclose(last.flatten(2).transpose(1, 2), features.tokens, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["test_vit", "test_vit3", "test_resnet", "davit_tiny"])
def test_checkpoint_pooling_is_the_models_own(arch: str) -> None:
    encoder = made(arch)
    x = images(160, 160)
    assert torch.equal(encoder(x).pooled, encoder.backbone(encoder.prepare(x)))


@torch.no_grad()
def test_a_convolutional_network_takes_any_size_and_a_vit_multiples_of_its_patch() -> None:
    assert made("test_resnet")(images(97, 131)).grid == (4, 5)
    with pytest.raises(UsageError, match="97x131 is not a multiple of the patch size 16"):
        made("test_vit")(images(97, 131))


def test_a_model_of_one_size_says_which() -> None:
    encoder = made("deit_tiny_distilled_patch16_224")
    for call in (encoder, encoder.intermediates):
        with pytest.raises(UsageError, match=r"takes 224x224 images only, not 256x256"):
            call(images(256, 256))


def test_without_a_class_token_cls_pooling_is_refused_and_avg_works() -> None:
    encoder = made("vit_pwee_patch16_reg1_gap_256").configure(normalization="own", pool="cls")
    with pytest.raises(UsageError, match="no class token"):
        encoder(images(64, 64))
    averaged = encoder.configure(normalization="own", pool="avg")(images(64, 64))
    assert torch.equal(averaged.pooled, averaged.tokens.mean(1))


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("vit_tyni_patch16_224", "Did you mean vit_tiny_patch16_224"),
        ("test_vit.r160_in1q", "Did you mean test_vit.r160_in1k"),
    ],
)
def test_unknown_names_get_a_suggestion(arch: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        build(arch, random_init=True)


def test_a_name_without_tag_asks_for_one() -> None:
    with pytest.raises(UsageError, match=r"names no pretrained weights.*timm:test_vit\.r160_in1k"):
        build("test_vit")


def small_dinov3(biased: bool) -> TimmEncoder:
    """DINOv3's architecture, small: 4 blocks of 48 channels."""
    torch.manual_seed(0)
    arch = f"vit_small_patch16_dinov3{'_qkvb' if biased else ''}"
    shape = {"embed_dim": 48, "depth": 4, "num_heads": 3}
    return TimmEncoder(create_model(arch, pretrained=False, num_classes=0, **shape))


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "qkvb"])
def test_every_lora_adapter_of_an_eva_model_is_used(biased: bool) -> None:
    """With separate biases timm calls the projection's weight directly (encoder notes, trap 1)."""
    from peft import LoraConfig, get_peft_model

    encoder = small_dinov3(biased)
    config = LoraConfig(r=2, target_modules=encoder.lora_targets, init_lora_weights=False)
    adapted = get_peft_model(encoder.backbone, config)
    encoder(images(64, 64)).pooled.square().sum().backward()
    gradients = {n: p.grad for n, p in adapted.named_parameters() if "lora_B" in n}
    assert len(gradients) == 16
    assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients.values())


@torch.no_grad()
def test_position_tables_are_resampled_once_from_the_native_grid() -> None:
    """Building at another size and running at a third resamples twice (encoder notes, trap 6)."""
    torch.manual_seed(0)
    encoder = build("vit_small_patch14_dinov2.lvd142m", random_init=True).eval()
    assert encoder.backbone.pos_embed.shape == (1, 37 * 37 + 1, 384)
    fixed = create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0).eval()
    fixed.load_state_dict(encoder.backbone.state_dict())
    fixed.set_input_size((112, 112))
    x = images(112, 112)
    expected = fixed.forward_features(encoder.prepare(x))[:, 1:]
    assert torch.allclose(encoder(x).tokens, expected, atol=1e-5)
