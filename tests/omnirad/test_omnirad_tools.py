"""The programs beside the package: test 17, the memory of a step, forensics."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from omnirad.errors import IntegrityError
from omnirad.model import create_model
from omnirad.presets import NANO, preset
from omnirad.student_teacher import build_student
from omnirad.tools.flops import encoder_macs, step_macs
from omnirad.tools.forensics import compare, correlation
from omnirad.tools.memory import GIB, footprint

# Printed in pretraining section 7, GMAC an image: encoder, total; with 8 local crops; ratio
ARITHMETIC = {"small": (49.0, 61.2, 75.3, 88.5, 1.45), "base": (185.3, 197.8, 288.8, 302.3, 1.53)}


@pytest.mark.parametrize("size", ["small", "base"])
def test_leaving_out_local_crops_saves_what_the_formula_says(size):
    """Test 17; the paper's factor of two is not claimed."""
    recipe = preset("paper", size)
    without, with_local = step_macs(recipe), step_macs(recipe, local_crops=8)
    found = [
        without["encoder"] / 1e9,
        without["total"] / 1e9,
        with_local["encoder"] / 1e9,
        with_local["total"] / 1e9,
        with_local["total"] / without["total"],
    ]
    assert found == pytest.approx(ARITHMETIC[size], rel=0.005)
    assert 1.40 <= found[-1] <= 1.60


@pytest.mark.parametrize(("size", "crop", "printed"), [("small", 224, 6.12), ("base", 98, 4.32)])
def test_the_counter_agrees_with_arithmetic_by_hand(size, crop, printed):
    """A block has 12 D² weights a token and 2 D T for attention; the patch embedding 588 D."""
    width, tokens = {"small": 384, "base": 768}[size], (crop // 14) ** 2
    block = 12 * width**2 * (tokens + 1) + 2 * width * (tokens + 1) ** 2
    by_hand = 12 * block + 588 * width * tokens
    assert encoder_macs(size, crop) == pytest.approx(by_hand, rel=1e-6)
    assert by_hand / 1e9 == pytest.approx(printed, abs=0.01)


@pytest.mark.parametrize("size", ["small", "base"])
def test_the_papers_step_fits_80_gb_with_room(size):
    recipe = preset("paper", size)
    found = footprint(recipe)
    with torch.device("meta"):
        student = build_student(replace(recipe, init="random"), seed=0, device="meta")
    one = 4 * sum(p.numel() for p in student.parameters())
    assert found.networks == 2 * one
    assert found.training == pytest.approx(3 * one, rel=0.01)  # gradients, two moments
    assert found.networks + found.training < found.peak
    assert found.fits and found.peak < 60e9


def test_whole_logits_need_the_memory_that_chunks_save():
    """About 10 % of a batch's logits are alive in chunks of a tenth; four matrices otherwise."""
    recipe = replace(NANO, prototypes=65536, batch_size=64)
    rows = 2 * 64 * 16 * 0.5 * 0.3
    parts = footprint(replace(recipe, chunk_rows=int(rows / 10) + 1))
    whole = footprint(replace(recipe, chunk_rows=10_000))
    matrix = rows * 65536 * 4
    assert (whole.peak - parts.peak) / GIB > 2 * matrix / GIB


def states(size: str = "nano") -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return two unrelated encoders with gammas as training leaves them: positive and spread."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = create_model(size, None).state_dict()
        for name, tensor in state.items():
            if name.endswith("gamma"):
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
        found.append(state)
    return found[0], found[1]


def test_weights_that_were_trained_on_from_dinov2_are_recognised():
    dinov2, _ = states()
    trained = {n: t * (1 + 0.05 * torch.randn_like(t)) for n, t in dinov2.items()}
    found = compare(trained, dinov2)
    assert found.verdict == "dinov2" and found.gammas > 0.9


def test_unrelated_weights_are_told_apart_although_gammas_point_the_same_way():
    dinov2, other = states()
    found = compare(other, dinov2)
    assert found.gammas_cosine > 0.9  # why the plain cosine does not tell
    assert found.verdict == "scratch" and abs(found.gammas) < 0.2


def test_weights_that_share_one_of_two_signs_are_left_undecided():
    dinov2, other = states()
    mixed = dict(other) | {"patch_embed.proj.weight": dinov2["patch_embed.proj.weight"]}
    assert compare(mixed, dinov2).verdict == "undecided"


def test_constant_gammas_correlate_with_nothing():
    assert correlation(torch.full((8,), 1e-5), torch.rand(8)) == pytest.approx(0, abs=1e-3)


def test_files_of_two_sizes_are_refused():
    dinov2, _ = states()
    with torch.device("meta"):
        base = create_model("base", None).state_dict()
    with pytest.raises(IntegrityError, match="give two files of one size"):
        compare(base, dinov2)
    with pytest.raises(IntegrityError, match="has no LayerScale"):
        compare(dinov2, {"patch_embed.proj.weight": torch.zeros(1)})


def forensics(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "omnirad.tools.forensics", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_real_dinov2_is_told_from_itself_trained_on_and_from_random(test_data, tmp_path):
    real = test_data / "weights/dinov2_vits14_518_fp16.safetensors"
    state = {n: t.float() for n, t in load_file(real).items()}
    torch.manual_seed(0)
    moved = {n: t + 0.1 * t.std() * torch.randn_like(t) for n, t in state.items()}
    save_file(moved, tmp_path / "moved.safetensors")
    save_file(create_model("small", None).state_dict(), tmp_path / "random.safetensors")
    for name, verdict in (("moved", "dinov2"), ("random", "scratch")):
        released = tmp_path / f"{name}.safetensors"
        done = forensics("--size", "small", "--released", released, "--dinov2", real)
        assert done.returncode == 0 and f"verdict: {verdict}" in done.stdout, done


def test_a_missing_file_is_an_error_without_a_traceback(tmp_path):
    done = forensics("--released", tmp_path / "none", "--dinov2", tmp_path / "none")
    assert done.returncode == 5
    assert done.stderr.startswith("error: there are no weights at")
