"""Archives to pretrain on: their training part, and those that hold something else."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_images import RNG

from omnirad.data.npz import open_npz
from omnirad.data.sources import Sample
from omnirad.errors import DataError


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_of_an_archive_only_the_training_part_is_read(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    arrays = {
        f"{s}_images": RNG.integers(0, 256, (4, 6, 6), dtype=np.uint8) for s in ("train", "test")
    }
    write(tmp_path / "set.npz", **arrays, train_labels=np.array([[3], [1], [0], [2]]))
    source = pickle.loads(pickle.dumps(open_npz(tmp_path / "set.npz")))
    assert len(source) == 4
    assert (source.image(2) == arrays["train_images"][2]).all()
    assert source.sample(1) == Sample(id="train/1", source="set", label="1")
    mapped = isinstance(source._images["train"], np.memmap)
    assert mapped == (write is np.savez)
    both = open_npz(tmp_path / "set.npz", ("train", "test"))
    assert both.sample(4).id == "test/0" and (both.image(4) == arrays["test_images"][0]).all()


def _pickled(path: Path) -> None:
    np.savez(path, train_images=np.array([{}, {}], dtype=object))


def _floats(path: Path) -> None:
    np.savez(path, train_images=np.zeros((2, 3, 3), np.float32))


def _other_names(path: Path) -> None:
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8))


def _truncated(path: Path) -> None:
    np.savez(path, train_images=np.zeros((20, 30, 30), np.uint8))
    path.write_bytes(path.read_bytes()[:5000])


def _labels_of_others(path: Path) -> None:
    np.savez(path, train_images=np.zeros((2, 3, 3), np.uint8), train_labels=np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (_pickled, "damaged or no .npz archive"),
        (_floats, r"train_images is float32 \[2, 3, 3\]; uint8"),
        (_other_names, "has no train_images; it holds images"),
        (_truncated, "damaged or no .npz archive"),
        (_labels_of_others, "3 labels for 2 images in train"),
    ],
)
def test_an_archive_that_holds_something_else_is_refused(
    tmp_path: Path, write: Callable[[Path], None], text: str
) -> None:
    write(tmp_path / "set.npz")
    with pytest.raises(DataError, match=text):
        open_npz(tmp_path / "set.npz")
