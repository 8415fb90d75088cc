"""Head, tunings and adapters: what is trained, and that it can learn."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from omnibench.adapters import (
    add_adapters,
    merge_adapters,
    require_live_adapters,
    require_untrained,
    untrained_digest,
)
from omnibench.encoder import Encoder
from omnibench.errors import PluginError, UsageError
from omnibench.forward import parameter_counts
from omnibench_plugins.tasks.cls.classifier import Head, HeadOnly, build_classifier
from omnibench_plugins.tasks.cls.recipe import named_recipe
from omnibench_plugins.tasks.cls.run import sqrt_inverse_frequency

BLOCK_LINEARS = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"


class Shell(Encoder):
    """Enough of an encoder to count its parameters."""

    def _features(self, x):
        raise NotImplementedError

    def _intermediates(self, x, layers, norm):
        raise NotImplementedError


def counts(size, recipe, tuning):
    """Total and trainable parameters of OmniRad's architecture at 224 px with 11 classes."""
    with torch.device("meta"):
        vit = timm.create_model(f"vit_{size}_patch14_dinov2", img_size=224, num_classes=0)
        encoder = Shell(
            vit, embed_dim=vit.num_features, patch_size=14, depth=12, mean=[0.5] * 3, std=[0.5] * 3
        )
        if tuning == "head":
            return 0, *parameter_counts(HeadOnly(Head(vit.num_features, 11, 0.4)))
        model = build_classifier(encoder, 11, named_recipe(recipe, tuning), BLOCK_LINEARS)
    return model.adapters, *parameter_counts(model)


# Golden values: the specification's counts for 11 classes, small and base.
@pytest.mark.parametrize(
    ("recipe", "tuning", "adapters", "small", "base"),
    [
        ("paper", "full", 0, 21_633_035, 85_733_387),
        ("paper", "head", 0, 4_235, 8_459),
        ("paper", "lora-r8", 48, 594_059, 1_188_107),
        ("paper", "lora-r16", 48, 1_183_883, 2_367_755),
        ("released", "lora-r8", 49, 592_984, 1_185_880),
        ("released", "lora-r16", 49, 1_185_968, 2_371_760),
    ],
)
def test_trained_parameters_are_those_of_the_paper(recipe, tuning, adapters, small, base):
    for size, expected in (("small", small), ("base", base)):
        found_adapters, total, trained = counts(size, recipe, tuning)
        assert (found_adapters, trained) == (adapters, expected)
        whole = {"small": 21_633_035, "base": 85_733_387}[size]
        assert total == trained if tuning == "head" else total >= whole


def tiny(vit_handle, tuning="lora-r8", recipe="paper", **handle):
    encoder = vit_handle(**handle).build(normalization="own", pool="cls")
    torch.manual_seed(0)
    return build_classifier(encoder, 3, named_recipe(recipe, tuning), encoder.lora_targets)


IMAGES, LABELS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), [0, 2]


def test_the_head_begins_small_and_unbiased():
    torch.manual_seed(0)
    head = Head(384, 11, 0.4)
    assert float(head.linear.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not head.linear.bias.any()
    assert head.dropout.p == 0.4


def test_all_tunings_of_a_seed_begin_with_the_same_head_and_the_same_logits(vit_handle):
    full, lora = (tiny(vit_handle, t).eval() for t in ("full", "lora-r16"))
    torch.manual_seed(0)
    head = HeadOnly(Head(32, 3, 0.4)).eval()
    for other in (head, lora):
        assert torch.equal(full.head.linear.weight, other.head.linear.weight)
    expected = full(IMAGES)
    assert torch.allclose(expected, lora(IMAGES), atol=1e-6)
    assert torch.allclose(expected, head(full.encoder(IMAGES).pooled), atol=1e-6)


def test_head_only_trains_the_head_alone():
    model = HeadOnly(Head(32, 3, 0.4))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "head.linear.weight",
        "head.linear.bias",
    }


def test_lora_trains_nothing_but_adapters_and_head(vit_handle):
    model = tiny(vit_handle)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trained if "lora_" not in n} == {"head.linear.weight", "head.linear.bias"}
    assert model.adapters == 8  # 2 blocks of 4 linear layers


def test_the_released_code_leaves_the_heads_random_weights_frozen(vit_handle):
    model = tiny(vit_handle, recipe="released")
    assert model.adapters == 9
    assert not model.head.linear.base_layer.weight.requires_grad
    assert all("lora_" in n for n, p in model.named_parameters() if p.requires_grad)


def test_live_adapters_pass_and_leave_everything_as_it_was(vit_handle):
    model = tiny(vit_handle).train()
    model.encoder.backbone.blocks[0].eval()
    before = {n: p.clone() for n, p in model.named_parameters()}
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    require_live_adapters(model, IMAGES, torch.tensor(LABELS))
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


class BypassingLinear(nn.Module):
    """Attention that reads its projection's weight and never calls it, as qkvb variants do."""

    def __init__(self, attention):
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.heads = attention.num_heads

    def forward(self, x, attn_mask=None, **_):
        b, n, d = x.shape
        q, k, v = (
            F.linear(x, self.qkv.weight, self.qkv.bias)
            .reshape(b, n, 3, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, d))


def bypass_first_block(vit):
    vit.blocks[0].attn = BypassingLinear(vit.blocks[0].attn)


def test_an_adapter_that_the_encoder_bypasses_is_named(vit_handle):
    model = tiny(vit_handle, change=bypass_first_block)
    with pytest.raises(PluginError, match=r"1 of 8 LoRA adapters get no gradient .*0\.attn\.qkv"):
        require_live_adapters(model, IMAGES, torch.tensor(LABELS))


def test_targets_that_match_nothing_are_an_error(vit_handle):
    with pytest.raises(PluginError, match="match no layer of VisionTransformer"):
        tiny(vit_handle, lora=r"layers\.\d+\.nothing")


def test_lora_without_targets_names_the_other_tunings(vit_handle):
    with pytest.raises(UsageError, match=r"names no layers for LoRA .* --tuning full"):
        tiny(vit_handle, lora=None)


def test_all_linear_reaches_the_same_layers_as_the_regex(vit_handle):
    assert tiny(vit_handle, lora="all-linear").adapters == 8


def test_alpha_is_twice_the_rank():
    module = nn.Sequential(nn.Linear(4, 4))
    add_adapters(module, ["0"], rank=8, dropout=0.1)
    assert module[0].scaling["default"] == 2.0
    assert module[0].lora_dropout["default"].p == 0.1


def test_class_weights_are_the_root_of_inverse_frequency():
    weights = sqrt_inverse_frequency(torch.tensor([0, 0, 0, 1]), classes=3)
    assert weights.tolist() == pytest.approx([(4 / 3) ** 0.5, 2.0, 0.0])


def test_merged_adapters_say_what_they_said_before_and_untrained_weights_are_watched(vit_handle):
    model = tiny(vit_handle).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
        before, logits = untrained_digest(model), model(IMAGES)
        require_untrained(model, before)
        merge_adapters(model)
        assert torch.allclose(model(IMAGES), logits, atol=1e-5)
    with pytest.raises(PluginError, match="stay as they are under LoRA"):
        require_untrained(model, before)
