"""The command line as a user meets it, above all with wrong input."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
from click.testing import CliRunner
from PIL import Image

from omnirad.__main__ import cli
from omnirad.errors import UsageError
from omnirad.presets import NANO
from omnirad.settings import digest, document, override

HEAVY = "{'torch', 'numpy', 'pandas', 'timm', 'matplotlib'}"


def call(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def refused(code, *arguments):
    done = call(*arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("start", ["omnirad.__main__", "omnibench.cli"])
def test_help_imports_nothing_heavy(start):
    program = (
        f"import sys; sys.argv = ['x', 'pretrain', '--help']\nfrom {start} import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--preset NAME" in done.stdout and done.stdout.endswith("[]\n")


def test_the_paper_preset_asks_for_weights(tmp_path):
    said = refused(2, "pretrain", "--preset", "paper", "--data", "npz:x", "--out", tmp_path / "r")
    assert "starts from DINOv2's weights: give --init FILE" in said and "--preset scratch" in said


def test_scratch_takes_no_weights(tmp_path):
    said = refused(
        *(2, "pretrain", "--preset", "scratch", "--data", "npz:x", "--out", tmp_path / "r"),
        *("--init", "dinov2"),
    )
    assert "leave it out, or add --set init=weights" in said


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr=1", "the recipe has no field 'lr'"),
        ("base_lrr=1", "Did you mean 'base_lr'?"),
        ("epochs", "write --set field=value"),
        ("epochs=1.5", "epochs takes int"),
        ("base_lr=nan", "base_lr must be finite"),
        ("centring=none", "centring is one of sinkhorn, softmax"),
        ("mask_exact=yes", "mask_exact is true or false"),
        ("crop_scale=0.5", "crop_scale takes 2 values"),
        ("warmup_epochs=99", "the learning rate would only ever rise"),
        ("crop_size=60", "image size 60 is not a multiple of the patch size 14; use 56"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_read(setting, message, tmp_path):
    arguments = ("pretrain", "--preset", "nano", "--data", "npz:absent", "--out", tmp_path / "r")
    assert message in refused(2, *arguments, "--set", setting)
    assert not (tmp_path / "r").exists()


def test_a_setting_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        override(NANO, ["epochs=2", "epochs=3"])


def test_settings_of_every_type_arrive():
    recipe = override(
        NANO,
        [
            "crop_scale=0.4, 0.9",
            "splits=train,val",
            "mask_exact=false",
            "epochs=5",
            "drop_path=0.1",
        ],
    )
    assert (recipe.crop_scale, recipe.splits) == ((0.4, 0.9), ("train", "val"))
    assert (recipe.mask_exact, recipe.epochs, recipe.drop_path) == (False, 5, 0.1)
    assert digest(document(recipe)) != digest(document(NANO))


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda folder: None, 4, "no"),
        (lambda folder: (folder / "a.png").write_bytes(b"not an image"), 4, "a.png"),
    ],
)
def test_an_empty_folder_and_an_unreadable_image_are_named(make, code, message, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    make(folder)
    for number in range(2 if any(folder.iterdir()) else 0):
        Image.fromarray(np.zeros((30, 30), dtype=np.uint8)).save(folder / f"{number}.png")
    said = refused(
        *(code, "pretrain", "--preset", "nano", "--data", f"folder:{folder}"),
        *("--out", tmp_path / "run", "--set", "batch_size=2", "--set", "koleo_weight=0"),
    )
    assert message in said
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_device_that_is_not_there_is_said(tmp_path):
    arguments = ("pretrain", "--preset", "nano", "--data", "mni152", "--out", tmp_path / "r")
    assert "this machine has" in refused(5, *arguments, "--device", "cuda:99")
    assert "use auto, cpu, cuda or cuda:N" in refused(2, *arguments, "--device", "tpu")


def test_weights_of_another_architecture_are_refused(tmp_path, tiny_job):
    from omnirad.exporting import export
    from omnirad.loop import pretrain
    from omnirad.model import create_model

    export(create_model("nano", None), tmp_path / "nano")
    images = tiny_job().data[0]
    said = refused(
        *(4, "pretrain", "--preset", "paper", "--data", images, "--out", tmp_path / "r"),
        *("--set", "batch_size=2", "--init", tmp_path / "nano" / "model.safetensors"),
        *("--device", "cpu"),
    )
    assert "does not fit" in said and "another architecture" in said
    assert not list((tmp_path / "r" / "checkpoints").iterdir())
    assert pretrain(tiny_job(init="weights", initial=str(tmp_path / "nano"), stop=1)) is None


def test_a_plan_says_steps_memory_and_what_is_unstated_and_writes_nothing(
    tmp_path, tiny_set, tiny_job
):
    out = tmp_path / "run"
    done = call(
        "pretrain",
        "--preset",
        "nano",
        *tiny_set,
        "--data",
        tiny_job().data[0],
        "--out",
        out,
        "--plan",
    )
    assert done.exit_code == 0, done.output
    assert "images: 24" in done.stdout
    assert "steps: 6, 3 an epoch, 2 epochs, 1 process(es)" in done.stdout
    assert "steps 4 to 5: 2 x 8 crops of 42 px a process, lr x 0.3" in done.stdout
    assert "memory of a step: about" in done.stdout and "GiB" in done.stdout
    assert "koleo_weight 0.1" in done.stdout.partition("unstated in the paper:")[2]
    assert not out.exists()


def test_images_go_from_a_folder_through_shards_to_an_encoder_that_timm_loads(
    tmp_path, tiny_set, tiny_job
):
    packed = call("pack", "--data", tiny_job().data[0], "--out", tmp_path / "shards")
    assert json.loads(packed.stdout) == {"packed": str(tmp_path / "shards"), "images": 24}
    done = call(
        *("pretrain", "--preset", "nano", *tiny_set, "--data", f"packed:{tmp_path / 'shards'}"),
        *("--out", tmp_path / "run", "--device", "cpu"),
    )
    assert json.loads(done.stdout)["encoder"] == str(tmp_path / "run" / "encoder"), done.output
    half = call("export", tmp_path / "run", tmp_path / "half", "--fp16", "--licence", "mit")
    assert half.exit_code == 0, half.output
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["pretrained_cfg"]["license"] == "mit"
    for folder in (tmp_path / "run" / "encoder", tmp_path / "half"):
        encoder = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert encoder.embed_dim == 384 and encoder.patch_embed.img_size == (28, 28)
    assert "there are: 6" in refused(5, "export", tmp_path / "run", tmp_path / "x", "--step", "5")
    assert "has not a checkpoint" in refused(5, "export", tmp_path / "half", tmp_path / "x")


def test_an_evaluation_must_name_its_split():
    done = call("probe", "--data", "npz:x")
    assert done.exit_code == 2 and "--split" in done.stderr
