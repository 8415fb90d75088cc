"""Whatever happens while a checkpoint is written or read, the last good one survives."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from omnirad import loop
from omnirad.checkpoints import Checkpoints, Identity, read, steps
from omnirad.errors import IntegrityError, RunFailed, SetupError, UsageError
from omnirad.loop import pretrain
from omnirad.presets import NANO


@pytest.fixture
def checkpoints(tmp_path):
    identity = Identity(
        recipe=NANO,
        seed=0,
        manifest="ab",
        images=10,
        initial="random",
        world_size=1,
        precision="fp32",
    )
    return Checkpoints(tmp_path, identity, every=5)


def test_the_last_three_and_every_tenth_save_are_kept(checkpoints):
    for step in range(5, 131, 5):
        checkpoints.save(step, {"value": torch.tensor(step)})
    assert sorted(steps(checkpoints.folder)) == [50, 100, 120, 125, 130]
    assert checkpoints.load() == (130, {"value": torch.tensor(130)})


def test_without_checkpoints_there_is_nothing_to_load(checkpoints):
    assert checkpoints.load() is None


def test_a_full_disk_is_said_and_the_last_good_checkpoint_survives(tiny_job, monkeypatch):
    pretrain(tiny_job(stop=2))
    folder = tiny_job().out / "checkpoints"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    synced = os.fsync

    def full(descriptor):
        if "checkpoint-" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        SetupError, match=r"checkpoint-000000004\.pt could not be written: No space"
    ):
        pretrain(tiny_job())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()
    assert pretrain(tiny_job()) == tiny_job().out / "encoder"


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_named_as_the_way_out(
    damage, checkpoints
):
    checkpoints.save(5, {"value": torch.arange(1000.0)})
    path = checkpoints.save(10, {"value": torch.arange(1000.0)})
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    else:
        place = data.find(torch.arange(1000.0).numpy().tobytes())
        assert place > 0
        data[place + 400] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="remove it to go on from the one before"):
        checkpoints.load()
    path.unlink()
    assert checkpoints.load()[0] == 5


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "checkpoint-000000001.pt"
    path.write_bytes(pickle.dumps(Bad()))
    with pytest.raises(IntegrityError, match="is damaged or no checkpoint"):
        read(path)
    torch.save(Bad(), path)
    with pytest.raises(IntegrityError, match="is damaged or no checkpoint"):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_a_loss_that_is_not_finite_stops_the_run_before_weights_change(tiny_job, monkeypatch):
    pretrain(tiny_job(stop=2))
    folder = tiny_job().out / "checkpoints"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    normal = loop.normalised
    monkeypatch.setattr(loop, "normalised", lambda crops: normal(crops) * torch.nan)
    with pytest.raises(RunFailed, match=r"loss is not finite at step 2 \(loss nan, dino nan"):
        pretrain(tiny_job())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_checkpoints_without_their_run_are_not_trusted(tiny_job):
    pretrain(tiny_job(stop=1))
    (tiny_job().out / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"run\.json is missing or damaged"):
        pretrain(tiny_job())
    (tiny_job().out / "run.json").unlink()
    with pytest.raises(UsageError, match="but no run; choose a new folder"):
        pretrain(tiny_job())
