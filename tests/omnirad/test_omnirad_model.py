"""The encoder: keys, weights, positions, and the layout it is exported in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import omnirad
from omnirad.architectures import ARCHITECTURES
from omnirad.errors import IntegrityError, OmniradError, SetupError, UsageError
from omnirad.model import create_model
from omnirad.weights import locate, read_state


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def relative_spread(features: torch.Tensor) -> float:
    """Standard deviation over images against the features' size."""
    return float(features.std(dim=0).norm() / features.norm(dim=1).mean())


@pytest.fixture(scope="module")
def nano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("exported") / "nano"
    return omnirad.export(create_model("nano", None), folder)


def test_importing_the_package_and_its_recipe_imports_neither_torch_nor_numpy():
    program = (
        "import sys, omnirad, omnirad.presets, omnirad.schedules, omnirad.errors;"
        "print(sorted({'torch', 'numpy', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_face_is_there():
    assert all(hasattr(omnirad, name) for name in omnirad.__all__)
    with pytest.raises(AttributeError):
        omnirad.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("size", "name", "parameters"),
    [  # parameters as printed in pretraining section 1 and encoders table 1b
        ("small", "vit_small_patch14_dinov2", 21_628_800),
        ("base", "vit_base_patch14_dinov2", 85_724_928),
    ],
)
def test_keys_and_shapes_are_timms(size, name, parameters):
    with torch.device("meta"):
        ours = create_model(size, None)
        theirs = timm.create_model(name, img_size=224, num_classes=0)
    mine, his = ours.state_dict(), theirs.state_dict()
    assert len(mine) == 174
    assert {n: t.shape for n, t in mine.items()} == {n: t.shape for n, t in his.items()}
    assert sum(p.numel() for p in ours.parameters()) == parameters


def test_an_exported_folder_gives_the_same_features_at_every_size(nano_folder):
    for options, size in (({}, 56), ({"img_size": 224}, 224), ({"dynamic_img_size": True}, 448)):
        theirs = timm.create_model(f"local-dir:{nano_folder}", pretrained=True, **options).eval()
        ours = create_model("nano", nano_folder, **options).eval()
        with torch.no_grad():
            assert torch.equal(theirs(images(size)), ours(images(size)))


def test_the_small_encoder_reloads_with_the_published_configuration(tmp_path):
    encoder = create_model("small", None).eval()
    folder = omnirad.export(encoder, tmp_path / "small", tag="mine", licence="cc-by-4.0")
    config = json.loads((folder / "config.json").read_text())
    # Fields of OmniRad-base's config.json (pretraining section 9), with our tag and licence
    assert {k: v for k, v in config.items() if k != "pretrained_cfg"} == {
        "architecture": "vit_small_patch14_dinov2",
        "num_classes": 0,
        "num_features": 384,
        "global_pool": "token",
    }
    assert config["pretrained_cfg"] == {
        "tag": "mine",
        "custom_load": False,
        "input_size": [3, 224, 224],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 0,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "cc-by-4.0",
    }
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(images(224)), encoder(images(224)))


def test_half_precision_halves_the_file_and_keeps_the_rounded_values(nano_folder, tmp_path):
    encoder = create_model("nano", nano_folder)
    half = omnirad.export(encoder, tmp_path / "half", fp16=True)
    full_size = (nano_folder / "model.safetensors").stat().st_size
    assert (half / "model.safetensors").stat().st_size < 0.52 * full_size
    again = create_model("nano", half).state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(again[name], tensor.half().float()), name


def test_a_folder_in_use_is_not_written_over(nano_folder):
    before = (nano_folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="is not empty"):
        omnirad.export(create_model("nano", None), nano_folder)
    assert (nano_folder / "model.safetensors").read_bytes() == before


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("omnirad.exporting.save_file", full_disk)
    with pytest.raises(SetupError, match="No space left"):
        omnirad.export(create_model("nano", None), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_only_our_sizes_are_exported(tmp_path):
    stranger = timm.create_model("vit_small_patch14_dinov2", embed_dim=48, depth=2, num_heads=3)
    with pytest.raises(UsageError, match="width 48, depth 2 and 3 heads"):
        omnirad.export(stranger, tmp_path / "x")
    with pytest.raises(UsageError, match="Linear is no timm VisionTransformer"):
        omnirad.export(torch.nn.Linear(2, 2), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_positions_are_resampled_as_timm_does_and_the_class_row_stays():
    from timm.layers import resample_abs_pos_embed

    big = create_model("nano", None, img_size=112)
    with torch.no_grad():
        big.pos_embed.normal_(generator=torch.Generator().manual_seed(1))
    for antialias in (True, False):
        small = create_model("nano", None)
        from omnirad.weights import load_encoder

        load_encoder(small, big.state_dict(), Path("big"), antialias=antialias)
        wanted = resample_abs_pos_embed(big.pos_embed, [4, 4], antialias=antialias)
        assert small.pos_embed.shape == (1, 17, 384)
        assert torch.equal(small.pos_embed[:, 0], big.pos_embed[:, 0])
        assert torch.equal(small.pos_embed, wanted)


def test_dinov2_weights_of_518_pixels_start_an_encoder_of_224(test_data):
    path = test_data / "weights/dinov2_vits14_518_fp16.safetensors"
    encoder = create_model("small", path).eval()
    assert encoder.pos_embed.shape == (1, 257, 384)
    state = load_file(path)
    assert torch.equal(encoder.pos_embed[:, 0], state["pos_embed"].float()[:, 0])
    assert torch.equal(encoder.blocks[3].ls1.gamma, state["blocks.3.ls1.gamma"].float())
    theirs = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0)
    from timm.models.vision_transformer import checkpoint_filter_fn

    theirs.load_state_dict(checkpoint_filter_fn({k: v.float() for k, v in state.items()}, theirs))
    with torch.no_grad():
        assert torch.equal(encoder(images(224)), theirs.eval()(images(224)))


def test_dinov2s_own_mask_token_and_wrappers_are_left_out(nano_folder, tmp_path):
    state = load_file(nano_folder / "model.safetensors")
    torch.save({"model": state | {"mask_token": torch.zeros(1, 384)}}, tmp_path / "dinov2.pth")
    encoder = create_model("nano", tmp_path / "dinov2.pth")
    assert torch.equal(encoder.cls_token, state["cls_token"])


def test_with_a_layer_scale_of_1e_5_untrained_features_are_constant():
    """Test 16: such random weights would flatter whatever is compared with them."""
    torch.manual_seed(0)
    x = images(56, 16)
    with torch.no_grad():
        constant = create_model("nano", None, layer_scale=1e-5).eval()(x)
        alive = create_model("nano", None).eval()(x)
    assert relative_spread(constant) < 1e-3
    assert relative_spread(alive) > 1e-2


def spoil(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    if how == "missing":
        del state["norm.weight"]
    elif how == "surplus":
        state["blocks.3.norm1.weight"] = torch.zeros(384)
    elif how == "of another shape":
        state["cls_token"] = torch.zeros(1, 1, 192)
    elif how == "not finite":
        state["cls_token"] = torch.full((1, 1, 384), torch.nan)
    return state


@pytest.mark.parametrize("how", ["missing", "surplus", "of another shape", "not finite"])
def test_weights_that_do_not_fit_are_refused_with_names(nano_folder, tmp_path, how):
    state = spoil(load_file(nano_folder / "model.safetensors"), how)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(IntegrityError, match=f"1 {how}"):
        create_model("nano", tmp_path / "bad.safetensors")


def test_weights_of_another_size_are_refused(nano_folder):
    with pytest.raises(IntegrityError, match=r"of 174 tensors 126 missing"):
        create_model("small", nano_folder / "model.safetensors")
    with pytest.raises(IntegrityError, match="not 'vit_base_patch14_dinov2'"):
        create_model("base", nano_folder)


def test_files_that_are_no_weights_are_refused(nano_folder, tmp_path):
    whole = (nano_folder / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    torch.save({"epoch": 3, "who": "me"}, tmp_path / "other.pth")
    torch.save(create_model("nano", None), tmp_path / "objects.pth")
    for name in ("cut.safetensors", "page.pth", "other.pth", "objects.pth"):
        with pytest.raises(IntegrityError, match=name):
            read_state(tmp_path / name)


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(SetupError, match="there are no weights at"):
        create_model("nano", tmp_path / "none.safetensors")
    (tmp_path / "half").mkdir()
    with pytest.raises(SetupError, match=r"has no config\.json"):
        create_model("nano", tmp_path / "half")
    with pytest.raises(SetupError, match="no weights of 'base' are shipped"):
        create_model("base", "shipped")
    with pytest.raises(UsageError, match="use one of small, base, nano"):
        create_model("huge", None)
    with pytest.raises(UsageError, match="not a multiple of the patch size 14; use 224"):
        create_model("nano", None, img_size=225)


PUBLISHED = """
import sys
from omnirad.errors import SetupError
from omnirad.weights import locate
try:
    print(locate("published", sys.argv[1]))
except SetupError as error:
    print("refused:", error)
"""


def locate_offline(cache: Path, size: str) -> str:
    """Look for published weights in a process of its own: the hub reads these when imported."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", PUBLISHED, size],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.strip()


def test_published_weights_are_found_in_the_hubs_cache_or_asked_for(tmp_path):
    repo = tmp_path / "models--Snarcy--OmniRad-small"
    (repo / "refs").mkdir(parents=True)
    commit = "ab" * 20
    (repo / "refs/main").write_text(commit)
    encoder = create_model("small", None)
    folder = omnirad.export(encoder, repo / "snapshots" / commit, licence="cc-by-nc-4.0")
    found = Path(locate_offline(tmp_path, "small"))
    assert found == folder / "model.safetensors"
    assert torch.equal(read_state(found)["pos_embed"], encoder.pos_embed)
    missing = locate_offline(tmp_path, "base")
    assert "refused: the weights of Snarcy/OmniRad-base are neither cached" in missing
    assert "hf download Snarcy/OmniRad-base" in missing


def test_a_folder_of_the_published_layout_is_a_place_for_weights(nano_folder):
    assert locate(nano_folder, "nano") == nano_folder / "model.safetensors"
    (nano_folder / "config.json").rename(nano_folder / "kept.json")
    (nano_folder / "config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"no config\.json of timm's form"):
        locate(nano_folder, "nano")
    (nano_folder / "kept.json").rename(nano_folder / "config.json")


def test_every_error_has_an_exit_code():
    codes = {kind.__name__: kind.exit_code for kind in OmniradError.__subclasses__()}
    assert codes == {
        "RunFailed": 1,
        "UsageError": 2,
        "DataError": 4,
        "IntegrityError": 4,
        "SetupError": 5,
    }


def test_the_sizes_are_those_of_the_paper_and_ours():
    assert list(ARCHITECTURES) == ["small", "base", "nano"]
