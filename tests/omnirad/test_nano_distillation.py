"""Distilling DINOv2-S into nano: views, whitening, the kept features, and learning itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import omnirad
from omnirad.__main__ import cli
from omnirad.data.specs import open_sources
from omnirad.distil_job import truncated
from omnirad.distillation import DistilBatches, DistilRecipe, distil, rate
from omnirad.errors import IntegrityError, UsageError
from omnirad.model import create_model
from omnirad.progress import Silent
from omnirad.runlog import RunLog
from omnirad.teacher_features import (
    TeacherFeatures,
    Whitening,
    compute,
    load,
    rarity,
    save,
    view_crops,
)

COUNT = 16
RECIPE = DistilRecipe(epochs=4, batch_size=8, views=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8), dtype=np.uint8)
        Image.fromarray(coarse).resize((80, 60)).save(root / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return omnirad.export(create_model("small", None), tmp_path_factory.mktemp("t") / "teacher")


@pytest.fixture(scope="module")
def features(folder: Path, teacher_file: Path) -> TeacherFeatures:
    teacher = create_model("small", teacher_file, img_size=84)
    source = open_sources([f"folder:{folder}"])
    return compute(teacher, source, views=2, size=84, crop_size=56, progress=Silent())


def test_whitened_features_have_unit_vectors_and_equal_variances_along_every_component():
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -2, 12)
    rows = torch.randn(4000, 12, generator=generator) * scales + 3
    whiten = Whitening(rows, torch.ones(4000), 12, 1e-9)
    free = (rows - whiten.mean) @ whiten.projection
    assert torch.allclose(free.T @ free / 4000, torch.eye(12), atol=1e-3)
    assert torch.allclose(whiten(rows).norm(dim=1), torch.ones(4000), atol=1e-5)


def test_a_weight_of_two_is_as_good_as_an_image_seen_twice():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(50).index_fill(0, torch.arange(10), 2.0)
    doubled = Whitening(torch.cat([rows, rows[:10]]), torch.ones(60), 4, 0.01)
    weighted = Whitening(rows, weights, 4, 0.01)
    # directions have no sign: cosines are what counts
    a, b = doubled(rows), weighted(rows)
    assert torch.allclose(a @ a.T, b @ b.T, atol=1e-5)


def test_a_stratum_of_n_images_counts_as_the_root_of_n():
    weights = rarity([0] * 9 + [1] * 4)
    assert float(weights[:9].sum()) == pytest.approx(3) and float(weights[9:].sum()) == 2


def test_the_first_view_is_the_whole_image_and_others_are_fixed_boxes(folder, features):
    source = open_sources([f"folder:{folder}"])
    (whole,) = view_crops(source, 3, 0, (56,))
    with Image.open(folder / "03.png") as image:
        resized = image.resize((56, 56), Image.Resampling.BICUBIC)
    assert np.abs(whole.astype(int) - np.asarray(resized).astype(int)).max() <= 2
    first, again = (view_crops(source, 3, 1, (56,))[0] for _ in range(2))
    assert np.array_equal(first, again) and not np.array_equal(first, whole)
    assert np.array_equal(features.crops[1, 3].numpy(), first)


def test_features_are_the_teachers_tokens_in_the_same_view(folder, teacher_file, features):
    source = open_sources([f"folder:{folder}"])
    (crop,) = view_crops(source, 5, 1, (84,))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    image = (torch.from_numpy(crop).float().div(255).expand(1, 3, 84, 84) - mean) / std
    teacher = create_model("small", teacher_file, img_size=84).eval()
    with torch.no_grad():
        tokens = teacher.forward_features(image)[0]
    assert features.cls.shape == (2, COUNT, 384) and features.patches.shape == (2, COUNT, 16, 384)
    near = {"rtol": 0.05, "atol": 0.05}  # bfloat16 keeps 8 bits
    assert torch.allclose(features.cls[1, 5].float(), tokens[0], **near)
    assert torch.allclose(features.mean[1, 5].float(), tokens[1:].mean(dim=0), **near)
    # tokens of a 6 × 6 grid; the first coarse one of 4 × 4 averages rows and columns 0 and 1
    corner = tokens[1:].reshape(6, 6, -1)[:2, :2].mean(dim=(0, 1))
    assert torch.allclose(features.patches[1, 5, 0].float(), corner, **near)


def test_kept_features_come_back_and_others_are_refused(tmp_path, features):
    path = tmp_path / "kept.safetensors"
    assert load(path, {"views": 2}) is None
    save(path, features, {"views": 2})
    again = load(path, {"views": 2})
    assert torch.equal(again.cls, features.cls) and torch.equal(again.crops, features.crops)
    with pytest.raises(IntegrityError, match="differ in views"):
        load(path, {"views": 3})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="cannot be read"):
        load(path, {"views": 2})


def test_the_student_starts_as_the_teachers_first_blocks(teacher_file):
    path = teacher_file / "model.safetensors"
    student, teacher = truncated(path, 56), create_model("small", teacher_file)
    assert len(student.blocks) == 3
    for name, tensor in student.state_dict().items():
        if name != "pos_embed":
            assert torch.equal(tensor, teacher.state_dict()[name]), name


def test_batches_are_functions_of_seed_and_step_and_mirror_what_they_flip(folder, features):
    source = open_sources([f"folder:{folder}"])
    batches = DistilBatches(source, features, RECIPE, 384, seed=0)
    first, again, other = batches.batch(1), batches.batch(1), batches.batch(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    known = batches._patches.float().flatten(0, 1)
    mirrored = known.reshape(-1, 4, 4, 384).flip(2).flatten(1, 2)
    kinds = []
    for target in first[2]:
        straight = bool((known - target).abs().amax(dim=(1, 2)).min() == 0)
        flipped = bool((mirrored - target).abs().amax(dim=(1, 2)).min() == 0)
        assert straight != flipped
        kinds.append(flipped)
    assert set(kinds) == {True, False}


def test_a_student_learns_what_the_teacher_sees(folder, features, teacher_file, tmp_path):
    source = open_sources([f"folder:{folder}"])
    student = truncated(teacher_file / "model.safetensors", 56)
    log = RunLog(tmp_path / "log.jsonl")
    recipe = replace(RECIPE, epochs=15, floor=1.0)
    distil(student, source, features, recipe, seed=0, log=log, progress=Silent())
    rows = log.rows()
    assert rows[0]["cls"] == pytest.approx(1, abs=0.2)  # unrelated vectors
    # Thirty steps after an untrained teacher: little, but chance moves a batch by 1/√(384 · 8).
    assert rows[-1]["cls"] < rows[0]["cls"] - 0.04
    assert rows[-1]["patches"] < rows[0]["patches"] - 0.04


def test_the_rate_rises_and_falls():
    recipe = DistilRecipe(lr=1.0, min_lr=0.1, warmup=0.1)
    values = [rate(recipe, step, 100) for step in range(100)]
    assert values[0] == 0 and max(values) == 1.0 and values.index(1.0) in (9, 10)
    assert values[-1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("crop_size", 98, "exceeds teacher_size"),
        ("teacher_size", 85, "use 84"),
        ("epochs", 0, "epochs is 0"),
        ("floor", 0, "floor is 0"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(field, value, said):
    with pytest.raises(UsageError, match=said):
        replace(DistilRecipe(), **{field: value})


def test_the_command_refuses_what_is_missing_before_it_computes(tmp_path, folder, teacher_file):
    def call(*more: str) -> str:
        return CliRunner().invoke(cli, ["distil", "--cache", f"{tmp_path}/c", *more]).output

    out = ["--out", str(tmp_path / "out")]
    good = ["--teacher", str(teacher_file)]
    assert "there are no weights at" in call(
        "--teacher", "x.pt", "--data", f"folder:{folder}", *out
    )
    assert "there is no folder" in call(*good, "--data", f"folder:{tmp_path}/none", *out)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out/file").write_text("mine")
    assert "is not empty" in call(*good, "--data", f"folder:{folder}", *out)
    assert (tmp_path / "out/file").read_text() == "mine"


def test_the_command_writes_an_encoder_its_log_and_what_it_was_made_of(
    tmp_path, folder, teacher_file, monkeypatch
):
    monkeypatch.setattr("omnirad.distil_job.run.__defaults__", (replace(RECIPE, epochs=1),))
    command = ["distil", "--teacher", str(teacher_file), "--data", f"folder:{folder}"]
    command += ["--cache", str(tmp_path / "cache.safetensors"), "--seed", "3"]
    done = [
        CliRunner().invoke(cli, [*command, "--out", str(tmp_path / name)], catch_exceptions=False)
        for name in ("one", "two")
    ]
    assert [result.exit_code for result in done] == [0, 0]
    record = json.loads((tmp_path / "one/distil.json").read_text())
    assert record["seed"] == 3 and record["images"] == COUNT
    stopped = tmp_path / "two"  # before its end: it is begun again, and ends the same
    (stopped / "encoder").rename(tmp_path / "before")
    again = CliRunner().invoke(cli, [*command, "--out", str(stopped)], catch_exceptions=False)
    assert again.exit_code == 0
    assert (tmp_path / "one/log.jsonl").read_text() == (tmp_path / "two/log.jsonl").read_text()
    one, two = (create_model("nano", tmp_path / name / "encoder") for name in ("one", "two"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
