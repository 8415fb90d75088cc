"""The state of an unfinished seed: exact, or said and thrown away, and never in the way."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omnibench import training, unfinished
from omnibench.interfaces import RunContext
from omnibench.training import FitResult, Optimisation, fit
from omnibench.unfinished import UnfinishedSeed

RUN_ID = "ab" * 32
STATE = {
    "model": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)},
    "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1}]},
    "best": None,
    "course": {"losses": [0.5, 0.25], "pairs": [(1, 0.5)], "score": -float("inf")},
}


def seed_in(folder: Path, **made_by: Any) -> UnfinishedSeed:
    return UnfinishedSeed(folder, RUN_ID, "seed 0", {"code": "one", **made_by})


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


@pytest.fixture
def kept(tmp_path: Path) -> UnfinishedSeed:
    """A seed of which a state was kept."""
    seed = seed_in(tmp_path)
    seed.save(3, STATE, at_once=True)
    return seed


def test_a_state_comes_back_as_it_was_and_is_said(kept, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    found = seed_in(tmp_path)
    epoch, state = found.load()
    assert epoch == 3 and same(state, STATE)
    assert "seed 0 goes on after epoch 3" in caplog.text
    assert found.started == kept.started
    assert [each["epoch"] for each in found.resumed] == [3]


def test_seconds_and_stretches_add_up_over_processes(tmp_path, monkeypatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(unfinished.time, "perf_counter", lambda: clock.now)
    first = seed_in(tmp_path)
    clock.now += 7
    first.save(1, STATE, at_once=True)
    second = seed_in(tmp_path)
    second.load()
    clock.now += 5
    second.save(2, STATE, at_once=True)
    third = seed_in(tmp_path)
    third.load()
    assert third.spent == 12
    assert [each["epoch"] for each in third.resumed] == [1, 2]


def test_nothing_kept_is_nothing_found_and_discarding_it_is_no_error(tmp_path) -> None:
    seed = seed_in(tmp_path)
    assert seed.load() is None
    seed.discard()
    seed.save(1, STATE, at_once=True)
    seed.discard()
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_file_with_any_byte_changed_or_cut_off_is_never_loaded(kept, tmp_path, caplog) -> None:
    whole = kept.path.read_bytes()
    positions = [*range(0, len(whole), 31), len(whole) - 1]
    for position in positions:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        for content in (bytes(flipped), whole[:position]):
            kept.path.write_bytes(content)
            assert seed_in(tmp_path).load() is None, position
            assert not kept.path.exists(), "and it is gone"
    assert caplog.text.count("cannot be read (it is damaged); it begins anew") == 2 * len(positions)
    kept.path.write_bytes(whole)
    assert seed_in(tmp_path).load() is not None


@pytest.mark.parametrize("made_by", [{"code": "other"}, {"packages": {"torch": "0"}}])
def test_what_other_code_or_software_left_is_discarded(kept, tmp_path, caplog, made_by) -> None:
    assert seed_in(tmp_path, **made_by).load() is None
    assert f"was left by another {next(iter(made_by))}; it begins anew" in caplog.text
    assert not kept.path.exists()


class Canary:
    """Runs code where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_state_is_not_run(kept, tmp_path, caplog) -> None:
    canary = tmp_path / "canary"
    for archive in (torch.save, pickle.dump):
        data = io.BytesIO()
        archive({"state": Canary(canary)}, data)
        kept.path.write_bytes(data.getvalue() + hashlib.sha256(data.getvalue()).digest())
        assert seed_in(tmp_path).load() is None
    assert not canary.exists() and caplog.text.count("torch cannot read it") == 2


def test_writing_takes_at_most_one_percent_of_the_time(tmp_path, monkeypatch) -> None:
    clock = SimpleNamespace(now=0.0, writing=0.0)
    monkeypatch.setattr(unfinished.time, "perf_counter", lambda: clock.now)

    def slow_write(self: Any, content: Any, needed: int) -> None:
        clock.now += 3
        clock.writing += 3

    monkeypatch.setattr(UnfinishedSeed, "_write", slow_write)
    seed = seed_in(tmp_path)
    written_after = []
    for epoch in range(1, 401):
        clock.now += 10
        before = clock.writing
        seed.save(epoch, STATE)
        if clock.writing > before:
            written_after.append(epoch)
    assert written_after[0] == 1, "a small state is written as soon as that is cheap"
    assert written_after[1] == 31, "the disk is slower than was supposed: 300 seconds have passed"
    assert clock.writing / clock.now < 0.011


def test_a_large_first_state_waits_until_its_writing_is_cheap(tmp_path, monkeypatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(unfinished.time, "perf_counter", lambda: clock.now)
    large = {"model": torch.zeros(10_000_000)}  # 40 MB: 0.2 s on a slow disk
    seed = seed_in(tmp_path)
    clock.now = 24
    seed.save(1, large)
    assert not seed.path.exists()
    clock.now = 26
    seed.save(2, large)
    assert seed.path.exists()


@pytest.mark.parametrize("fault", ["no room", "write", "replace", "mkdir"])
def test_a_disk_that_refuses_is_said_once_and_stops_nobody(
    kept, tmp_path, monkeypatch, caplog, fault
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = kept.path.read_bytes()
    if fault == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    elif fault == "write":
        monkeypatch.setattr(unfinished, "_Hashing", lambda file: SimpleNamespace(archive=refuse))
    else:
        monkeypatch.setattr(Path, fault, refuse)
    seed = seed_in(tmp_path)
    for epoch in (4, 5):
        seed.save(epoch, STATE, at_once=True)
    assert caplog.text.count("cannot be kept") == 1
    assert kept.path.read_bytes() == before, "the earlier state is still whole"
    assert [p.name for p in kept.path.parent.iterdir()] == [kept.path.name]


def test_the_disks_own_error_is_told_although_torch_hides_it(kept, tmp_path, caplog) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        unfinished._Hashing(Full()).archive({"state": STATE})


def test_what_a_killed_writer_left_is_removed_by_whoever_goes_on(kept, tmp_path) -> None:
    draft = kept.path.parent / f".4194304-{RUN_ID}"
    other = kept.path.parent / f".4194304-{'cd' * 32}"
    for path in (draft, other):
        path.write_bytes(b"half")
    assert seed_in(tmp_path).load() is not None
    assert not draft.exists() and other.exists(), "other seeds have owners of their own"


# ---- training by `fit` ---------------------------------------------------------------

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
EPOCHS = 6
RECIPE = Optimisation(
    epochs=EPOCHS, batch_size=8, lr=0.05, weight_decay=0.01, warmup_epochs=2, decay="cosine"
)


class Killed(BaseException):
    """The process ends here."""


class Memory:
    """Keeps states as bytes, and ends the process after an epoch."""

    def __init__(self, end: int | None = None, forget: tuple[str, ...] = ()) -> None:
        self.end, self.forget, self.data = end, forget, None

    def load(self) -> Any:
        if self.data is None:
            return None
        epoch, state = torch.load(io.BytesIO(self.data), weights_only=True)
        return epoch, state

    def save(self, epoch: int, state: Any, *, at_once: bool = False) -> None:
        told = {**state, **{name: {} for name in self.forget if name in state}}
        buffer = io.BytesIO()
        torch.save((epoch, told), buffer)
        self.data = buffer.getvalue()
        if epoch == self.end:
            self.end = None
            raise Killed


def trained(
    memory: Memory, precision: Any = "fp32", sign: int = -1
) -> tuple[FitResult, dict[str, torch.Tensor]]:
    """Train a small model with everything that could be history; return course and model.

    The best epoch is one of the last, or with `sign` 1, where a large error is good, the first.
    """
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(index: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        noise = torch.randn(len(index), 3, generator=draws) * 0.1
        return F.mse_loss(model(X[index] + noise).float(), Y[index])

    result = fit(
        model,
        samples=len(X),
        loss=loss,
        validate=lambda: sign * float(F.mse_loss(model(X), Y).detach()),
        optimisation=RECIPE,
        context=RunContext(seed=0, unfinished=memory, precision=precision),
        order="toy",
    )
    return result, model.state_dict()


def killed_and_resumed(memory: Memory, *how: Any) -> Any:
    with pytest.raises(Killed):
        trained(memory, *how)
    torch.manual_seed(99)  # another process has drawn other numbers before
    return trained(memory, *how)


def equal(a: Any, b: Any) -> bool:
    return a[0] == b[0] and same(dict(a[1]), dict(b[1]))


# fp16 on the CPU, so that gradients are scaled and the scaler's state counts
@pytest.mark.parametrize("how", [("fp32",), ("fp32", 1), ("fp16",)], ids=str)
@pytest.mark.parametrize("end", range(1, EPOCHS + 1))
def test_training_that_ended_after_any_epoch_goes_on_to_the_same_bits(end, how) -> None:
    assert equal(killed_and_resumed(Memory(end), *how), trained(Memory(), *how))


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("optimizer", ("fp32",)),
        ("scaler", ("fp16",)),
        ("best", ("fp32", 1)),
        ("course", ("fp32",)),
        ("random streams", ("fp32",)),
    ],
)
def test_the_comparison_would_notice_whatever_part_of_a_state_were_missing(
    part, how, monkeypatch
) -> None:
    if part == "random streams":  # what is drawn depends on what was drawn before
        monkeypatch.setattr(training, "seed_epoch", lambda seed, epoch: None)
    expected = trained(Memory(), *how)
    if part in ("optimizer", "scaler"):
        owner = {"optimizer": torch.optim.AdamW, "scaler": torch.amp.GradScaler}[part]
        monkeypatch.setattr(owner, "load_state_dict", lambda self, state: None)
    memory = Memory(4, forget=(part,) if part in ("best", "course") else ())
    assert not equal(killed_and_resumed(memory, *how), expected)


def test_a_state_belongs_to_the_training_that_left_it(tmp_path) -> None:
    whole = seed_in(tmp_path)
    assert whole.load() is None  # the first training
    whole.save(2, {"of": "first"}, at_once=True)
    assert whole.load() is None  # the second begins anew, not where the first was
    whole.save(1, {"of": "second"}, at_once=True)
    resumed = seed_in(tmp_path)
    assert resumed.load() is None  # the first has to be done again
    epoch, state = resumed.load()
    assert (epoch, state) == (1, {"of": "second"})
