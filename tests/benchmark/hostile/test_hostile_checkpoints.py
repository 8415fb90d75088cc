"""Weights files that attack or are damaged (rows 18 and 19 of the plan).

Every file of row 18 would create a folder, the canary, if an unsafe reader opened it. Where Python
or torch can open it unsafely, the test does so in the end, to prove that the canary is alive.
"""

from __future__ import annotations

import argparse
import io
import json
import operator
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

import omnirad.errors
import omnirad.weights
from omnibench import weights
from omnibench.cards import EncoderSpec, HubFile
from omnibench.checkpoint import read_state
from omnibench.errors import IntegrityError, SetupError

STATE = {"0.weight": torch.arange(12.0).reshape(3, 4), "0.bias": torch.ones(3)}
READERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "omnibench": (read_state, IntegrityError),
    "omnirad": (omnirad.weights.read_state, omnirad.errors.IntegrityError),
}


class Canary:
    """Creates a folder when an unsafe reader opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


class ByCode(Canary):
    """The same by a text of code."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


class ByShell(Canary):
    """The same by a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"mkdir '{self.mark}'",)


class ByCall(Canary):
    """The same by a function that an allowed-looking one calls."""

    def __reduce__(self) -> tuple[object, ...]:
        return operator.call, (os.mkdir, str(self.mark))


def torch_bytes(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def by_opcodes(mark: Path) -> bytes:
    """Pickle protocol 0, written by hand: no class of ours is involved."""
    return f"cos\nmkdir\n(V{mark}\ntR.".encode()


def objects(mark: Path) -> bytes:
    array = np.empty(1, dtype=object)
    array[0] = Canary(mark)
    return torch_bytes({"0.weight": array})


def in_a_tar(mark: Path) -> bytes:
    """torch's format before 0.1.10."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Canary(mark))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def tensors_first(mark: Path) -> bytes:
    """A sound state dict with one more entry deep inside."""
    return torch_bytes({"state_dict": STATE, "history": {"best": [1, 2, (3, Canary(mark))]}})


def swapped_pickle(mark: Path) -> bytes:
    """A sound zip file of torch whose pickle was replaced."""
    source, out = zipfile.ZipFile(io.BytesIO(torch_bytes(STATE))), io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for item in source.infolist():
            data = source.read(item)
            evil = item.filename.endswith("data.pkl")
            made.writestr(item.filename, by_opcodes(mark) if evil else data)
    return out.getvalue()


# Name: makes the file's bytes, and how it is opened unsafely, if it can be.
Opener = Callable[[bytes], object]


def unsafely(data: bytes) -> object:
    return torch.load(io.BytesIO(data), weights_only=False)


ATTACKS: dict[str, tuple[Callable[[Path], bytes], Opener | None]] = {
    "plain pickle": (lambda mark: pickle.dumps({"w": Canary(mark)}), pickle.loads),
    "plain pickle, protocol 0": (by_opcodes, pickle.loads),
    "torch zip": (lambda mark: torch_bytes({"w": Canary(mark)}), unsafely),
    "torch zip, eval": (lambda mark: torch_bytes({"w": ByCode(mark)}), unsafely),
    "torch zip, shell": (lambda mark: torch_bytes({"w": ByShell(mark)}), unsafely),
    "torch zip, nested call": (lambda mark: torch_bytes(ByCall(mark)), unsafely),
    "torch before 1.6": (
        lambda mark: torch_bytes({"w": Canary(mark)}, _use_new_zipfile_serialization=False),
        unsafely,
    ),
    "object array": (objects, unsafely),
    "deep in a sound checkpoint": (tensors_first, unsafely),
    "swapped pickle": (swapped_pickle, unsafely),
    "legacy tar": (in_a_tar, None),  # torch itself no longer gets that far
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_reader_runs_code_of_a_checkpoint(
    tmp_path: Path, name: str, reader: str, suffix: str
) -> None:
    mark, path = tmp_path / "executed", tmp_path / f"w{suffix}"
    make, unsafe = ATTACKS[name]
    data = make(mark)
    path.write_bytes(data)
    read, error = READERS[reader]
    with pytest.raises(error, match=path.name):
        read(path)
    assert not mark.exists()
    if unsafe is not None:
        unsafe(data)
        assert mark.exists(), "the canary is not alive, so the test above proved nothing"


@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE, "args": argparse.Namespace(lr=1)},
        {"model": STATE, "when": SimpleNamespace(epoch=3)},
        {"model": STATE, "folder": Path("/etc")},
        torch.nn.Linear(2, 2),
    ],
    ids=["Namespace", "SimpleNamespace", "Path", "module"],
)
@pytest.mark.parametrize("reader", READERS)
def test_harmless_objects_are_refused_as_well(tmp_path: Path, content: object, reader: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    read, error = READERS[reader]
    with pytest.raises(error, match=r"w\.pt"):
        read(tmp_path / "w.pt")


def header(fields: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + data


SOUND = save(STATE)
TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "cut in the header": SOUND[:20],
    "cut in the data": SOUND[:-1],
    "huge header length": struct.pack("<Q", 2**63) + SOUND[8:],
    "header longer than allowed": struct.pack("<Q", 101_000_000) + b"{" + b" " * 1000,
    "trailing bytes": SOUND + b"x",
    "a zip file behind it": SOUND + torch_bytes(STATE),
    "offsets beyond the end": header({"a": {**TENSOR, "data_offsets": [0, 80]}}, bytes(8)),
    "offsets that overlap": header({"a": TENSOR, "b": TENSOR}, bytes(8)),
    "offsets with a hole": header({"a": {**TENSOR, "data_offsets": [4, 12]}}, bytes(12)),
    "offsets backwards": header({"a": {**TENSOR, "data_offsets": [8, 0]}}, bytes(8)),
    "a shape of a tebibyte": header({"a": {**TENSOR, "shape": [2**38]}}, bytes(8)),
    "a shape that overflows": header({"a": {**TENSOR, "shape": [2**62, 2**62]}}, bytes(8)),
    "a negative shape": header({"a": {**TENSOR, "shape": [-2]}}, bytes(8)),
    "an unknown type": header({"a": {**TENSOR, "dtype": "PY"}}, bytes(8)),
    "no JSON": struct.pack("<Q", 9) + b"{not json" + bytes(8),
    "a list": struct.pack("<Q", 2) + b"[]",
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_safetensors_are_refused_by_name(tmp_path: Path, name: str, reader: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(DAMAGED[name])
    read, error = READERS[reader]
    with pytest.raises(error, match=r"w\.safetensors"):
        read(path)


def test_every_cut_of_a_small_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for length in range(len(SOUND)):
        path.write_bytes(SOUND[:length])
        with pytest.raises(IntegrityError):
            read_state(path)


def test_a_flipped_bit_of_the_data_loads_and_only_the_digest_tells(tmp_path: Path) -> None:
    card = EncoderSpec(name="acme", build=print, source=HubFile(repo="acme/vit"))
    path = tmp_path / "w.safetensors"
    save_file(STATE, path)
    before = weights.resolve(card, file=path, random=False, offline=True, cache=tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 0x10
    path.write_bytes(bytes(damaged))
    read = read_state(path)
    assert any(not torch.equal(read[name], STATE[name]) for name in STATE), "the library is content"
    after = weights.resolve(card, file=path, random=False, offline=True, cache=tmp_path)
    assert before.sha256 != after.sha256, "so the run has another identity"


def test_every_single_bit_of_a_pinned_file_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--acme--vit" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    path = snapshot / "model.safetensors"
    path.write_bytes(SOUND)
    source = HubFile(repo="acme/vit", revision="a" * 40, sha256=weights.sha256_of(path))
    for bit in range(0, 8 * len(SOUND), 41):
        damaged = bytearray(SOUND)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(IntegrityError, match="its card states") as caught:
            weights.locked_files(source, ["model.safetensors"], offline=True, cache=tmp_path)
        assert source.sha256 in str(caught.value) and weights.sha256_of(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"files": {"acme/vit/model.safetensors": {"commit": "../..", "sha256": "x"}}}',
        '{"files": {"acme/vit/model.safetensors": {"commit": 7, "sha256": null}}}',
        '{"files": NaN}',
        "\ufeff{}",
    ],
    ids=["deep", "climbing commit", "wrong types", "NaN", "byte order mark"],
)
def test_a_hostile_lock_of_weights_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / weights.LOCK_NAME).write_text(text)
    with pytest.raises(IntegrityError, match="is damaged"):
        weights.locked_files(HubFile(repo="acme/vit"), ["m"], offline=True, cache=tmp_path)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_folder_or_a_pipe_is_no_weights_file(tmp_path: Path, name: str) -> None:
    card = EncoderSpec(name="acme", build=print)
    (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / f"pipe-{name}")
    for file in (tmp_path / name, tmp_path / f"pipe-{name}", Path("/dev/zero")):
        with pytest.raises(SetupError, match="there is no file"):
            weights.resolve(card, file=file, random=False, offline=True, cache=tmp_path)


def test_values_stay_what_they_were(tmp_path: Path) -> None:
    """The readers above refuse attacks, not everything."""
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(SOUND if suffix == ".safetensors" else torch_bytes(STATE))
        for read, _ in READERS.values():
            found: dict[str, Tensor] = read(path)
            assert all(torch.equal(found[name], STATE[name]) for name in STATE)
