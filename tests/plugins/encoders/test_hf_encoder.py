"""transformers' vision models as encoders, on small ones saved in the format of the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from omnibench.encoder import Encoder
from omnibench.errors import IntegrityError, UsageError
from omnibench_plugins.encoders.hf_encoder import build
from omnibench_plugins.encoders.references import HF_LINEARS

SHAPE = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
}
# model, its configuration, prefix tokens
MODELS: dict[str, tuple[str, str, int]] = {
    "dinov2": ("Dinov2Model", "Dinov2Config", 1),
    "dinov2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", 5),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", 5),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", 0),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", 1),
    "vit": ("ViTModel", "ViTConfig", 1),
}
STATISTICS = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}


def images(size: int = 64) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def repository(folder: Path, name: str, **changes: Any) -> Path:
    """Save a randomly drawn model as a repository holds it; return its weights file."""
    model, config, prefix = MODELS[name]
    registers = {"num_register_tokens": 4} if prefix == 5 else {}
    torch.manual_seed(0)
    made = getattr(transformers, model)(
        getattr(transformers, config)(**SHAPE, **registers, **changes)
    )
    made.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    return folder / "model.safetensors"


@pytest.fixture(params=MODELS)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Encoder]:
    return request.param, build(repository(tmp_path, request.param)).eval()


def last_block(encoder: Encoder, size: int = 64) -> tuple[Tensor, Tensor]:
    """Return the outputs of blocks 1 and 3 as hooks see them."""
    blocks = next(m for m in encoder.backbone.modules() if isinstance(m, nn.ModuleList))
    seen: dict[int, Tensor] = {}
    hooks = [
        blocks[i].register_forward_hook(
            lambda _, __, out, i=i: seen.__setitem__(i, out if isinstance(out, Tensor) else out[0])
        )
        for i in (1, 3)
    ]
    encoder(images(size))
    for hook in hooks:
        hook.remove()
    return seen[1], seen[3]


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 112])
def test_features_and_intermediates_mean_the_same_for_every_architecture(
    named: tuple[str, Encoder], size: int
) -> None:
    name, encoder = named
    prefix, side = MODELS[name][2], size // 16
    features = encoder(images(size))
    assert features.grid == (side, side)
    assert features.tokens.shape == (2, side * side, 48)
    assert features.pooled.shape == (2, encoder.pooled_dim)
    assert (0 if features.prefix is None else features.prefix.shape[1]) == prefix
    second, fourth = last_block(encoder, size)
    one, three = encoder.intermediates(images(size), (1, 3))
    assert torch.equal(one.flatten(2).transpose(1, 2), second[:, prefix:])
    assert torch.equal(three.flatten(2).transpose(1, 2), fourth[:, prefix:])
    normed = encoder.intermediates(images(size), (3,), norm=True)[0]
    assert torch.allclose(normed.flatten(2).transpose(1, 2), features.tokens, atol=1e-6)


@torch.no_grad()
def test_tokens_have_the_final_norm(named: tuple[str, Encoder]) -> None:
    _, encoder = named
    tokens = encoder(images()).tokens  # a fresh LayerNorm gives mean 0 and deviation 1
    assert torch.allclose(tokens.mean(-1), torch.zeros(2, 16), atol=1e-4)
    assert torch.allclose(tokens.std(-1, correction=0), torch.ones(2, 16), atol=1e-2)


@torch.no_grad()
def test_pooling_is_the_class_token_except_where_the_checkpoint_pools_itself(
    named: tuple[str, Encoder],
) -> None:
    name, encoder = named
    features = encoder(images())
    if name == "siglip":
        own = encoder.backbone(pixel_values=encoder.prepare(images())).pooler_output
        assert torch.equal(features.pooled, own)
    else:
        assert features.prefix is not None
        assert torch.allclose(features.pooled, features.prefix[:, 0], atol=1e-6)


def test_statistics_are_the_repositorys(named: tuple[str, Encoder]) -> None:
    assert named[1]._own_statistics == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


def test_lora_reaches_every_linear_layer_of_the_blocks_and_no_other(
    named: tuple[str, Encoder],
) -> None:
    from peft import LoraConfig, get_peft_model

    _, encoder = named
    linears = {
        n
        for n, m in encoder.backbone.named_modules()
        if isinstance(m, nn.Linear) and re.search(r"layers?\.\d", n)
    }
    chosen = {n for n, _ in encoder.backbone.named_modules() if re.fullmatch(HF_LINEARS, n)}
    assert chosen == linears and len(chosen) == 24
    config = LoraConfig(r=2, target_modules=HF_LINEARS, init_lora_weights=False)
    adapted = get_peft_model(encoder.backbone, config)
    encoder(images()).pooled.square().sum().backward()
    gradients = [p.grad for n, p in adapted.named_parameters() if "lora_B" in n]
    assert len(gradients) == 24
    assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients)


def test_a_wrong_file_is_refused(named: tuple[str, Encoder], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    short = dict(list(state.items())[:-3])
    wrong = {
        "junk": {"foo": torch.zeros(2)},
        "short": short,
        "surplus": state | {"encoder.more": torch.zeros(2)},
        "nan": {k: v * float("nan") for k, v in state.items()},
        "shape": {k: v[..., :-1].contiguous() if v.ndim == 2 else v for k, v in state.items()},
    }
    for case, content in wrong.items():
        save_file(content, path)
        with pytest.raises(IntegrityError, match=r"model\.safetensors"):
            build(path)
            pytest.fail(f"{case} was loaded")


def test_half_precision_files_are_computed_in_single_precision(tmp_path: Path) -> None:
    path = repository(tmp_path, "dinov2")
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    encoder = build(path)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_two_tower_repository_gives_its_image_tower(tmp_path: Path, name: str) -> None:
    path = repository(tmp_path, name)
    alone = build(path).eval()
    config = json.loads((tmp_path / "config.json").read_text())
    both = {"model_type": name, "vision_config": config, "text_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(both))
    state = {f"vision_model.{k}": v for k, v in load_file(path).items()}
    save_file(state | {"text_model.x": torch.zeros(1), "logit_scale": torch.zeros(1)}, path)
    assert torch.equal(build(path).eval()(images()).pooled, alone(images()).pooled)


@torch.no_grad()
@pytest.mark.parametrize(("name", "prefix"), [("vit", "vit."), ("dinov2", "dinov2.")])
def test_a_classifiers_repository_gives_its_encoder(
    tmp_path: Path, name: str, prefix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = repository(tmp_path, name)
    alone = build(path).eval()
    state = {f"{prefix}{k}": v for k, v in load_file(path).items()}
    save_file(state | {"classifier.weight": torch.zeros(2, 48)}, path)
    capfd.readouterr()
    assert torch.equal(build(path).eval()(images()).tokens, alone(images()).tokens)
    assert capfd.readouterr() == ("", "")


@torch.no_grad()
def test_a_one_channel_model_sees_the_mean_of_the_channels(tmp_path: Path) -> None:
    path = repository(tmp_path, "dinov2", num_channels=1)
    grey = {"image_mean": [0.5], "image_std": [0.25]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(grey))
    encoder = build(path).eval()
    plain = images().mean(1, keepdim=True)
    expected = encoder.backbone(pixel_values=(plain - 0.5) / 0.25).last_hidden_state[:, 1:]
    assert torch.allclose(encoder(images()).tokens, expected, atol=1e-5)


@torch.no_grad()
def test_random_weights_need_the_configuration_only(tmp_path: Path) -> None:
    repository(tmp_path, "dinov2").unlink()
    encoder = build(tmp_path / "config.json", random_init=True).eval()
    scale = encoder.backbone.state_dict()["encoder.layer.0.layer_scale1.lambda1"]
    assert torch.equal(scale, torch.ones_like(scale))
    pooled = encoder(images()).pooled
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


def test_code_in_a_repository_is_never_run(tmp_path: Path) -> None:
    path = repository(tmp_path, "dinov2")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match="type 'theirs' cannot be used; known are dinov2"):
        build(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_or_silent_configuration_is_refused(tmp_path: Path) -> None:
    path = repository(tmp_path, "dinov2")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(IntegrityError, match="does not say 'image_mean'"):
        build(path)
    (tmp_path / "config.json").write_text("<html>")
    with pytest.raises(IntegrityError, match="cannot be read as JSON"):
        build(path)
