"""The built-in cards: names, licences, facts, and what referring to other models gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import omnibench_plugins.encoders
from omnibench import weights
from omnibench.cards import NAME, EncoderSpec
from omnibench.errors import UsageError, WeightsMissing
from omnibench.registry import Registry
from omnibench_plugins.encoders import references
from omnibench_plugins.encoders.cards import BLOCK_LINEARS

REGISTRY = Registry.of(omnibench_plugins.encoders)
CARDS = {offer.card.name: offer.card for offer in REGISTRY.encoders}

# Encoder notes, table 1b: parameters with no head. OmniRad's and Radio DINO's were measured there
# on the architecture their published configuration names.
PARAMETERS = {
    "omnirad-small": 21_628_800,
    "omnirad-base": 85_724_928,
    "radio-dino-small": 21_665_664,
    "radio-dino-base": 85_798_656,
    "dino-small": 21_665_664,
    "dino-base": 85_798_656,
    "dinov2-small": 22_056_192,
    "dinov2-base": 86_579_712,
    "dinov3-small": 21_586_944,
    "dinov3-base": 85_641_216,
    "clip-base": 85_799_424,
    "clip-base-openai": 85_799_424,
    "mae-base": 85_798_656,
    "vit-small": 21_665_664,
    "vit-base": 85_798_656,
}
# Snapshot of what our own tables declare (encoder notes, table 1a and L1 to L5).
LICENCES = {
    "omnirad-nano": ("Apache-2.0", True),
    "omnirad-small": ("CC-BY-NC-4.0", False),
    "omnirad-base": ("CC-BY-NC-4.0", False),
    "radio-dino-small": ("CC-BY-4.0", True),
    "radio-dino-base": ("CC-BY-4.0", True),
    "dino-small": ("Apache-2.0", True),
    "dino-base": ("Apache-2.0", True),
    "dinov2-small": ("Apache-2.0", True),
    "dinov2-base": ("Apache-2.0", True),
    "dinov3-small": ("DINOv3 License", None),
    "dinov3-base": ("DINOv3 License", None),
    "clip-base": ("MIT", True),
    "clip-base-openai": ("Apache-2.0", True),
    "mae-base": ("CC-BY-NC-4.0", False),
    "vit-small": ("Apache-2.0", True),
    "vit-base": ("Apache-2.0", True),
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758))


def on_meta(card: EncoderSpec) -> torch.nn.Module:
    """Build without memory: for counting and naming."""
    assert card.build is not None
    with torch.device("meta"):
        return card.build(random_init=True)


def test_the_built_in_names_are_those_of_the_design() -> None:
    unets = {
        f"unet-{n}"
        for n in ("resnet18", "resnet50", "efficientnet-b0", "mobilenet-v2", "densenet121")
    }
    assert set(CARDS) == set(PARAMETERS) | unets | {"omnirad-nano"}
    assert len(REGISTRY.encoders) == len(CARDS) and not REGISTRY.broken
    assert {o.card.prefix for o in REGISTRY.encoder_prefixes} == {"timm", "open_clip", "hf"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_measured(name: str) -> None:
    backbone = on_meta(CARDS[name]).backbone
    assert sum(p.numel() for p in backbone.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_card_and_encoder_agree(name: str) -> None:
    card, encoder = CARDS[name], on_meta(CARDS[name])
    facts = (encoder.embed_dim, encoder.patch_size, encoder.depth, encoder.lora_targets)
    assert facts == (card.embed_dim, card.patch_size, card.depth, card.lora_targets)
    assert encoder.dense_layers == (3, 7, 11)


@pytest.mark.parametrize("name", PARAMETERS)
def test_own_normalisation_is_the_publishers(name: str) -> None:
    expected = HALF if name.startswith("vit-") else CLIP if name.startswith("clip") else IMAGENET
    encoder = on_meta(CARDS[name])
    for values, wanted in zip(encoder._own_statistics, expected, strict=True):
        assert values == pytest.approx(wanted, abs=5e-5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_lora_adapts_the_48_linear_layers_of_the_blocks(name: str) -> None:
    modules = dict(on_meta(CARDS[name]).backbone.named_modules())
    chosen = [n for n in modules if re.fullmatch(BLOCK_LINEARS, n)]
    assert len(chosen) == 48
    assert all(isinstance(modules[n], torch.nn.Linear) for n in chosen)
    width = CARDS[name].embed_dim  # 192 r D (encoder notes, LoRA facts)
    size = sum(modules[n].in_features + modules[n].out_features for n in chosen)
    assert 8 * size == 192 * 8 * width == {384: 589_824, 768: 1_179_648}[width]


def test_licences_are_as_declared() -> None:
    declared = {n: (CARDS[n].licence, CARDS[n].commercial) for n in LICENCES}
    assert declared == LICENCES
    custom = [c for c in CARDS.values() if c.commercial is None]
    assert custom and all(c.licence_url for c in custom)


def test_the_two_clips_are_different_models() -> None:
    laion, openai = on_meta(CARDS["clip-base"]), on_meta(CARDS["clip-base-openai"])
    assert type(laion.backbone.blocks[0].mlp.act).__name__ == "GELU"
    assert type(openai.backbone.blocks[0].mlp.act).__name__ == "QuickGELU"
    assert "laion2b" in CARDS["clip-base"].source.repo
    assert CARDS["clip-base-openai"].source.repo == "timm/vit_base_patch16_clip_224.openai"


def test_sources_agree_with_timms_own_table() -> None:
    from timm.models import get_pretrained_cfg

    for name in set(PARAMETERS) - {c for c in PARAMETERS if c.startswith(("omnirad", "radio"))}:
        card = CARDS[name]
        arch = card.build.args[0]
        hub_id = get_pretrained_cfg(arch).hf_hub_id
        assert card.source.repo == (f"{hub_id}{arch}" if hub_id.endswith("/") else hub_id)


LIST_IN_A_NEW_PROCESS = """
import sys
import omnibench_plugins.encoders
from omnibench.registry import Registry
registry = Registry.of(omnibench_plugins.encoders)
registry.encoder("timm:resnet50.a1_in1k")
registry.encoder("open_clip:ViT-B-16/datacomp_xl_s13b_b90k")
registry.encoder("hf:microsoft/rad-dino")
sys.exit(bool({"torch", "numpy", "pandas", "timm", "transformers", "open_clip"} & set(sys.modules)))
"""


def test_cards_and_references_import_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIST_IN_A_NEW_PROCESS], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["omnirad-base", "dinov3-small", "hf:microsoft/rad-dino"])
def test_weights_missing_offline_name_repository_and_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    card = REGISTRY.encoder(name).card
    with pytest.raises(WeightsMissing) as caught:
        weights.resolve(card, file=None, random=False, offline=True, cache=tmp_path)
    assert f"hf download {card.source.repo} model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "name", "repo"),
    [
        ("timm:resnet50.a1_in1k", "timm-resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("timm:resnet50", "timm-resnet50", None),
        (
            "timm:vit_base_patch32_clip_quickgelu_224.openai",
            "timm-vit_base_patch32_clip_quickgelu_224.openai",
            "timm/vit_base_patch32_clip_224.openai",
        ),
        ("hf:gpt2-vision", "hf-gpt2-vision", "gpt2-vision"),
        ("hf:microsoft/rad-dino", "hf-microsoft-rad-dino-275d0e4d", "microsoft/rad-dino"),
    ],
)
def test_references_become_names_fit_for_records(
    reference: str, name: str, repo: str | None
) -> None:
    card = REGISTRY.encoder(reference).card
    assert card.name == name and NAME.fullmatch(name)
    assert (card.source.repo if card.source else None) == repo


def test_references_that_look_alike_get_different_names() -> None:
    names = {references.card_name("hf", r) for r in ("a/B", "A/b", "a/b", "a-b", "x" * 200, "é")}
    assert len(names) == 6 and all(NAME.fullmatch(name) for name in names)


def test_a_revision_can_be_pinned_in_a_reference() -> None:
    source = REGISTRY.encoder("hf:microsoft/rad-dino@abc123").card.source
    assert (source.repo, source.revision) == ("microsoft/rad-dino", "abc123")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf:../secrets", "is no repository"),
        ("hf:a/b/c", "is no repository"),
        ("timm:hf-hub:owner/name", "is no timm name"),
        ("open_clip:ViT-B-61", "Did you mean ViT-B-16"),
        ("open_clip:ViT-B-16/laion2b", "It has openai"),
    ],
)
def test_references_that_cannot_be_are_refused(reference: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        REGISTRY.encoder(reference)


def test_the_copied_open_clip_table_is_open_clips() -> None:
    from open_clip.pretrained import get_pretrained_cfg

    table = references.open_clip_tags()
    assert sum(map(len, table.values())) > 150
    for arch, tags in table.items():
        for tag, source in tags.items():
            published = get_pretrained_cfg(arch, tag)
            assert published["hf_hub"].startswith(f"{source.repo}/"), f"{arch}/{tag}"


def test_timms_repositories_follow_the_rule_but_for_a_few() -> None:
    from timm.models import get_pretrained_cfg, list_pretrained

    names = [n for n in list_pretrained() if get_pretrained_cfg(n).hf_hub_id]
    wrong = []
    for name in names:
        hub_id = get_pretrained_cfg(name).hf_hub_id
        repo = f"{hub_id}{name}" if hub_id.endswith("/") else hub_id
        if references.timm_reference(name).source.repo != repo:
            wrong.append(name)
    assert len(wrong) / len(names) < 0.03, wrong
