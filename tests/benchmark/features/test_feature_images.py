"""Decoded images and masks in the store, and the numbers of every type that it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from albums import Album, Pictures

from omnibench.features.cache import FeatureStore
from omnibench.features.images import images_of, masks_of
from omnibench.features.rows import Column, Layout, StoredRows
from omnibench.interfaces import Silent
from omnibench.loading import resized_images


def pictures(*kinds: str) -> Any:
    draw = np.random.default_rng(1)
    made = {
        "grey": lambda: draw.integers(0, 256, (9, 12), dtype=np.uint8),
        "colour": lambda: draw.integers(0, 256, (12, 9, 3), dtype=np.uint8),
        "float": lambda: draw.random((10, 10), dtype=np.float32),
    }
    return Album(Pictures([made[kind]() for kind in kinds]))


@pytest.mark.parametrize(
    "kinds",
    [
        ["grey"] * 20,
        ["grey"] * 19 + ["colour"],
        ["grey"] * 18 + ["float", "colour"],
        ["float", "colour", "grey"],
    ],
    ids=lambda kinds: "-".join(dict.fromkeys(kinds)),
)
def test_decoded_images_on_disk_are_those_in_memory(store, monkeypatch, kinds):
    dataset = pictures(*kinds)
    expected = resized_images(dataset.train, 8, antialias=True)
    written = images_of(store, dataset, "train", 8, True, progress=Silent())
    everything = torch.arange(len(kinds))
    assert torch.equal(written[everything], expected)
    assert written[everything].dtype == expected.dtype
    monkeypatch.setattr(Pictures, "image", lambda *_: pytest.fail("an image was decoded"))
    read = images_of(store, dataset, "train", 8, True, progress=Silent())
    assert torch.equal(read[torch.tensor([2, 0, 2])], expected[[2, 0, 2]])
    assert len(list(store.root.glob("??/*"))) == 1, "narrower attempts are gone"


def test_images_fit_in_memory_where_the_store_has_no_room(tmp_path):
    dataset = pictures("grey", "colour")
    found = images_of(FeatureStore(tmp_path, 10), dataset, "train", 8, True, progress=Silent())
    assert torch.equal(found[torch.arange(2)], resized_images(dataset.train, 8, antialias=True))


@pytest.mark.parametrize("kept", [True, False])
def test_masks_keep_the_values_that_shrinking_loses(store, kept):
    dataset = pictures("grey", "grey")
    masks = [np.zeros((9, 12), np.uint8), np.full((9, 12), 3, np.uint8)]
    masks[0][4, 5] = 9
    dataset.train.targets = masks
    for _ in range(2):
        rows = masks_of(store if kept else None, dataset, "train", 3, Silent())
        found = rows.read(torch.arange(2))
        assert found["mask"].tolist() == [[[0] * 3] * 3, [[3] * 3] * 3]
        present = [p.nonzero().flatten().tolist() for p in found["present"]]
        assert present == [[0, 9], [3]]
        dataset.train.targets = masks if not kept else [None, None]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8", "bool", "int64"])
def test_every_type_of_number_survives(store, dtype):
    layout = Layout([Column("a", dtype, (2, 3)), Column("b", "uint8", (5,))])
    draw = torch.Generator().manual_seed(0)
    a = torch.randint(0, 200, (4, 2, 3), generator=draw).to(getattr(torch, dtype))
    b = torch.randint(0, 256, (4, 5), generator=draw).to(torch.uint8)

    def produce(draft: Any, start: int, stop: int) -> dict[str, float]:
        draft.add(layout.pack({"a": a[start:stop], "b": b[start:stop]}))
        return {"seconds": 0.0}

    shards = store.obtain(
        {"of": dtype}, 4, row_bytes=layout.nbytes, shard_rows=3, produce=produce, what="x"
    )
    found = StoredRows(shards, layout).read(torch.tensor([3, 0, 1]))
    assert torch.equal(found["a"], a[[3, 0, 1]]) and torch.equal(found["b"], b[[3, 0, 1]])
    assert Layout.parsed([list(column) for column in layout]) == layout
