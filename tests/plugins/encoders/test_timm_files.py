"""Weights files into built-in encoders: the right ones exactly, the wrong ones never."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from timm.models import create_model
from torch import Tensor

import omnibench_plugins.encoders
from omnibench.encoder import Encoder
from omnibench.errors import IntegrityError
from omnibench.registry import Registry

REGISTRY = Registry.of(omnibench_plugins.encoders)
REAL = "dinov2_vits14_518_fp16.safetensors"


def load(name: str, path: Path) -> Encoder:
    build = REGISTRY.encoder(name).card.build
    assert build is not None
    return build(weights=path).eval()


@cache
def drawn(arch: str, **options: int) -> dict[str, Tensor]:
    """State dict of a randomly drawn timm model, as its publisher would store it."""
    torch.manual_seed(0)
    return create_model(arch, pretrained=False, **options).state_dict()


def saved(state: dict[str, Tensor], folder: Path, name: str = "w.safetensors") -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def is_exactly(encoder: Encoder, state: dict[str, Tensor]) -> bool:
    own = encoder.backbone.state_dict()
    return all(torch.equal(own[k], state[k].float()) for k in own)


# -- the right files ------------------------------------------------------------------------


def test_the_real_dinov2_file_loads_exactly(test_data: Path) -> None:
    path = test_data / "weights" / REAL
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("61b85d0649098a1d")
    encoder = load("dinov2-small", path)
    assert is_exactly(encoder, load_file(path))
    assert encoder.backbone.pos_embed.shape == (1, 1370, 384)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.no_grad()
def test_the_real_dinov2_file_sees_breast_lesions(test_data: Path) -> None:
    """Linear probe on breastmnist_224: AUC 0.914 (the file's README; 0.731 for a random ViT)."""
    data = np.load(test_data / "data" / "medmnist" / "breastmnist_224.npz", allow_pickle=False)
    encoder = load("dinov2-small", test_data / "weights" / REAL)

    def features(split: str) -> np.ndarray:
        images = torch.from_numpy(data[f"{split}_images"])[:, None].expand(-1, 3, -1, -1)
        parts = []
        for batch in images.split(16):
            out = encoder(batch.float() / 255)
            parts.append(torch.cat([out.pooled, out.tokens.mean(1)], dim=1))
        return torch.cat(parts).numpy()

    probe = LogisticRegression(C=0.01, max_iter=5000)
    probe.fit(features("train"), data["train_labels"][:, 0])
    scores = probe.decision_function(features("test"))
    assert roc_auc_score(data["test_labels"][:, 0], scores) == pytest.approx(0.914, abs=0.02)


def test_a_518_px_file_in_omnirads_shape_keeps_its_own_grid(test_data: Path) -> None:
    path = test_data / "weights" / REAL
    assert is_exactly(load("omnirad-small", path), load_file(path))


def test_a_224_px_file_in_dinov2s_shape_keeps_its_own_grid(tmp_path: Path) -> None:
    state = drawn("vit_small_patch14_dinov2", img_size=224, num_classes=0)
    encoder = load("dinov2-small", saved(state, tmp_path))
    assert encoder.backbone.pos_embed.shape == (1, 257, 384) and is_exactly(encoder, state)
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 448, 448)).grid == (32, 32)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_surplus_classifier_is_left_out(tmp_path: Path, suffix: str) -> None:
    state = drawn("vit_small_patch16_224", num_classes=10)
    assert "head.weight" in state
    assert is_exactly(load("vit-small", saved(state, tmp_path, f"w{suffix}")), state)


def test_metas_dinov2_names_are_read(tmp_path: Path) -> None:
    state = drawn("vit_small_patch14_dinov2", num_classes=0)
    meta = state | {"mask_token": torch.zeros(1, 384)}
    assert is_exactly(load("dinov2-small", saved(meta, tmp_path)), state)


def test_metas_dinov3_names_are_read_and_stdout_stays_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = drawn("vit_small_patch16_dinov3", num_classes=0)
    meta = {
        k.replace("gamma_1", "ls1.gamma")
        .replace("gamma_2", "ls2.gamma")
        .replace("reg_token", "storage_tokens"): v
        for k, v in state.items()
    }
    meta |= {f"blocks.{i}.attn.qkv.bias": torch.zeros(1152) for i in range(12)}
    meta |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.zeros(16)}
    assert is_exactly(load("dinov3-small", saved(meta, tmp_path)), state)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["clip-base", "clip-base-openai"])
def test_an_open_clip_checkpoint_is_read_with_its_text_tower_and_projection(
    tmp_path: Path, name: str
) -> None:
    from open_clip import get_model_config
    from open_clip.model import _build_vision_tower

    torch.manual_seed(0)
    config = get_model_config("ViT-B-16")
    quick = name.endswith("openai")
    visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"], quick).eval()
    state = {f"visual.{k}": v for k, v in visual.state_dict().items()}
    state |= {"positional_embedding": torch.zeros(77, 512), "logit_scale": torch.zeros(())}
    encoder = load(name, saved(state, tmp_path))
    x = torch.rand(1, 3, 224, 224)
    visual.output_tokens = True
    with torch.no_grad():
        tokens = visual(encoder.prepare(x))[1]
        assert torch.allclose(encoder(x).tokens, tokens, atol=1e-5)


# -- the wrong files ------------------------------------------------------------------------


def without(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith(start)}


WRONG: dict[str, tuple[str, Callable[[], dict[str, Tensor]]]] = {
    "junk": ("vit-small", lambda: {"foo": torch.zeros(3)}),
    "junk into DINOv3": ("dinov3-small", lambda: {"foo": torch.zeros(3)}),
    "junk into CLIP": ("clip-base", lambda: {"foo": torch.zeros(3)}),
    "DINOv2-S into DINO-S": ("dino-small", lambda: drawn("vit_small_patch14_dinov2")),
    "DINO-S into DINOv2-S": ("dinov2-small", lambda: drawn("vit_small_patch16_224")),
    "DINO-S into OmniRad-S": ("omnirad-small", lambda: drawn("vit_small_patch16_224")),
    "DINOv2-S into DINOv3-S": ("dinov3-small", lambda: drawn("vit_small_patch14_dinov2")),
    "DINOv3-S into DINOv2-S": ("dinov2-small", lambda: drawn("vit_small_patch16_dinov3")),
    "S into B": ("dino-base", lambda: drawn("vit_small_patch16_224")),
    "tiny into S": ("dino-small", lambda: drawn("vit_tiny_patch16_224")),
    "patch 32 into patch 16": ("dino-small", lambda: drawn("vit_small_patch32_224")),
    "ViT-S into CLIP-B": ("clip-base", lambda: drawn("vit_small_patch16_224")),
    "a block too few": ("dino-small", lambda: without(drawn("vit_small_patch16_224"), "blocks.7.")),
    "no final norm": ("dino-small", lambda: without(drawn("vit_small_patch16_224"), "norm.")),
    "no registers": ("dinov3-small", lambda: without(drawn("vit_small_patch16_dinov3"), "reg_")),
    "a block too many": (
        "dino-small",
        lambda: (
            drawn("vit_small_patch16_224") | {"blocks.12.attn.qkv.weight": torch.zeros(1152, 384)}
        ),
    ),
    "a grid that is no square": (
        "dino-small",
        lambda: drawn("vit_small_patch16_224") | {"pos_embed": torch.zeros(1, 190, 384)},
    ),
    "not finite": (
        "dino-small",
        lambda: drawn("vit_small_patch16_224") | {"norm.bias": torch.full((384,), torch.nan)},
    ),
    "a ResNet": ("dino-small", lambda: drawn("test_resnet")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    name, state = WRONG[case]
    path = saved(state(), tmp_path)
    with pytest.raises(IntegrityError, match=r"w\.safetensors"):
        load(name, path)


def test_a_dino_training_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dino.pth"
    torch.save({"teacher": drawn("vit_small_patch16_224"), "epoch": 99}, path)
    with pytest.raises(IntegrityError, match="teacher, epoch"):
        load("dino-small", path)


@pytest.mark.parametrize("kept", [0.01, 0.999])
def test_a_truncated_real_file_is_refused(tmp_path: Path, test_data: Path, kept: float) -> None:
    whole = (test_data / "weights" / REAL).read_bytes()
    path = tmp_path / REAL
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(IntegrityError, match="no complete safetensors"):
        load("dinov2-small", path)


def test_a_refused_patch_size_says_so(tmp_path: Path) -> None:
    path = saved(drawn("vit_small_patch32_224"), tmp_path)
    with pytest.raises(IntegrityError, match=r"patch_embed\.proj\.weight .* resampled to"):
        load("dino-small", path)
