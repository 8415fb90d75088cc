"""Reading checkpoints safely and loading them completely (encoder notes, sections 3 and 4)."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from omnibench.checkpoint import load_checked, read_state
from omnibench.errors import IntegrityError


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def state() -> dict[str, Tensor]:
    return {k: v.clone() for k, v in small_net().state_dict().items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_a_state_dict_comes_back_as_it_was_saved(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    read = read_state(path)
    assert read.keys() == state().keys()
    assert all(torch.equal(read[k], v) for k, v in state().items())


def test_safetensors_are_recognised_by_content(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.bin")
    assert read_state(tmp_path / "w.bin").keys() == state().keys()


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_parallel_prefixes_come_off(tmp_path: Path, wrapper: str, prefix: str) -> None:
    wrapped = {wrapper: {prefix + k: v for k, v in state().items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == state().keys()


def test_a_dino_training_checkpoint_is_refused_and_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"teacher": state(), "student": state(), "epoch": 7}, tmp_path / "dino.pth")
    with pytest.raises(IntegrityError, match=r"3 of 3 entries are not tensors \(teacher, student"):
        read_state(tmp_path / "dino.pth")


class Canary:
    """Creates a file when unpickled by an unsafe reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("plain", [True, False])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, plain: bool) -> None:
    mark, path = tmp_path / "executed", tmp_path / "evil.pt"
    content = {"state_dict": state(), "extra": Canary(mark)}
    path.write_bytes(pickle.dumps(content)) if plain else torch.save(content, path)
    with pytest.raises(IntegrityError, match="refused"):
        read_state(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert mark.exists(), "the canary is not alive, so the test above proved nothing"


def test_python_objects_are_refused(tmp_path: Path) -> None:
    torch.save({"model": state(), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pt")
    with pytest.raises(IntegrityError, match="Python objects"):
        read_state(tmp_path / "w.pt")


def test_a_legacy_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.pt", "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps({"little_endian": True})
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(IntegrityError, match=r"old\.pt"):
        read_state(tmp_path / "old.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, these are no weights\n" * 20,
        b"<!DOCTYPE html><html><body>404</body></html>",
        bytes(500),
        b"\xff" * 500,
    ],
    ids=["empty", "text", "html", "zeros", "ones"],
)
def test_files_that_are_no_checkpoint_are_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        read_state(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    big = {"x": torch.randn(50, 50)}
    save_file(big, path) if path.suffix == ".safetensors" else torch.save(big, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(IntegrityError):
        read_state(path)


def test_a_list_or_nothing_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(IntegrityError, match="holds a list"):
        read_state(tmp_path / "list.pt")
    torch.save({}, tmp_path / "nothing.pt")
    with pytest.raises(IntegrityError, match="no state dict"):
        read_state(tmp_path / "nothing.pt")


def test_loading_copies_every_value_and_allows_a_surplus_head() -> None:
    wanted = {k: v + 1 for k, v in state().items()}
    net = small_net()
    load_checked(net, wanted | {"head.weight": torch.zeros(2, 3)}, path=Path("w"))
    assert all(torch.equal(v, wanted[k]) for k, v in net.state_dict().items())


def test_half_precision_values_are_loaded_exactly_into_single_precision() -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state().items()}
    net = small_net()
    load_checked(net, halves, path=Path("w"))
    assert net[0].weight.dtype == torch.float32  # type: ignore[index]
    assert torch.equal(net[0].weight, halves["0.weight"].float())  # type: ignore[index]


def test_a_missing_batch_counter_is_no_fault_but_a_missing_statistic_is() -> None:
    values = state()
    del values["1.num_batches_tracked"]
    load_checked(small_net(), values, path=Path("w"))
    del values["1.running_mean"]
    with pytest.raises(IntegrityError, match=r"1 missing \(1.running_mean\)"):
        load_checked(small_net(), values, path=Path("w"))


def test_every_kind_of_misfit_is_counted_and_named() -> None:
    values = state()
    del values["0.bias"]
    values["0.weight"] = torch.zeros(3, 5)
    values |= {f"extra.{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(IntegrityError) as caught:
        load_checked(small_net(), values, path=Path("w.pt"))
    text = str(caught.value)
    assert "w.pt does not fit" in text
    assert "1 missing (0.bias)" in text
    assert "5 surplus (extra.0, extra.1, extra.2, …)" in text
    assert "1 of another shape (0.weight (3, 5) instead of (3, 4))" in text


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    values = state()
    values["0.weight"][1, 2] = bad
    with pytest.raises(IntegrityError, match=r"0\.weight holds values that are not finite"):
        load_checked(small_net(), values, path=Path("w"))
