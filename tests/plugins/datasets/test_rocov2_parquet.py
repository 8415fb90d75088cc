"""ROCOv2 from small parquet files with the hub's columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, SetupError
from omnibench.interfaces import ConceptSplit, Dataset
from omnibench_plugins.datasets import rocov2, rocov2_parquet

arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
parquet = pytest.importorskip("pyarrow.parquet")
COUNTS = {"train": 5, "validation": 2, "test": 3}


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 9), value, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(split: str, count: int) -> list[dict[str, Any]]:
    short = {"validation": "valid"}.get(split, split)
    return [
        {
            "image": {"bytes": png(20 * i + len(split)), "path": None},
            "image_id": f"ROCOv2_2023_{short}_{i + 1:06d}",
            "caption": f"CT {i}\n",
            "cui": ["C2", "C1"] if i else [],
        }
        for i in range(count)
    ]


def save(root: Path, name: str, content: list[dict[str, Any]]) -> Path:
    path = root / "rocov2" / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(content), path, row_group_size=2)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the hub's files, training in two shards."""
    monkeypatch.setattr(rocov2, "HUB_COUNTS", tuple(COUNTS.values()))
    for split, count in COUNTS.items():
        content = rows(split, count)
        if split == "train":
            save(tmp_path, "train-00000-of-00002.parquet", content[:3])
            save(tmp_path, "train-00001-of-00002.parquet", content[3:])
        else:
            save(tmp_path, f"{split}-00000-of-00001.parquet", content)
    return tmp_path


def opened(root: Path, **allowed: bool) -> Dataset:
    return rocov2.cards()[0].open(DataAccess(root=root, **allowed))


def test_images_captions_and_concepts_come_from_row_groups(hub: Path) -> None:
    dataset = opened(hub)
    assert (dataset.name, dataset.kind) == ("rocov2", "captions")
    for name, written in (("train", "train"), ("val", "validation"), ("test", "test")):
        split = dataset.split(name)
        assert isinstance(split, ConceptSplit) and len(split) == COUNTS[written]
        for index in (len(split) - 1, 0):
            image = split.image(index)
            assert image.shape == (6, 9) and (image == 20 * index + len(written)).all()
        assert split.target(1) == ("CT 1",)
        assert (split.concepts(0), split.concepts(1)) == ((), ("C1", "C2"))
    # Ids are positions among all sorted names, as those of the publisher's files are.
    assert dataset.split("test").ids.tolist() == [0, 1, 2]
    assert dataset.split("train").ids.tolist() == [3, 4, 5, 6, 7]


def test_every_value_is_in_the_digest(hub: Path) -> None:
    before = opened(hub).digest
    assert before == opened(hub).digest
    content = rows("test", 3)
    content[0]["cui"] = ["C9"]
    save(hub, "test-00000-of-00001.parquet", content)
    assert opened(hub).digest != before


def test_other_counts_are_refused_or_marked(hub: Path) -> None:
    save(hub, "test-00000-of-00001.parquet", rows("test", 2))
    with pytest.raises(IntegrityError, match=r"it has \(5, 2, 2\) captioned images, \(5, 2, 3\)"):
        opened(hub)
    assert opened(hub, allow_unverified=True).facts["unverified"] == "true"


def test_a_missing_shard_is_named_before_anything_is_read(hub: Path) -> None:
    (hub / "rocov2" / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(SetupError, match=r"lacks 1 of 2 files of split train: numbers 00000"):
        opened(hub)
    (hub / "rocov2" / "data" / "test-00000-of-00001.parquet").unlink()
    (hub / "rocov2" / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(SetupError, match=r"lacks 1 of 1 files of split train"):
        opened(hub)


def test_everything_wrong_is_told_at_once(hub: Path) -> None:
    content = rows("test", 3)
    content[0]["image"]["bytes"] = b"no image"
    content[1]["caption"] = " "
    content[2]["image_id"] = "ROCOv2_2023_train_000001"
    save(hub, "test-00000-of-00001.parquet", content)
    twice = rows("validation", 2)
    twice[1]["image_id"] = twice[0]["image_id"]
    save(hub, "validation-00000-of-00001.parquet", twice)
    damaged = hub / "rocov2" / "data" / "train-00001-of-00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(IntegrityError) as caught:
        opened(hub)
    for expected in (
        "test-00000-of-00001.parquet: 1 images cannot be read: ROCOv2_2023_test_000001",
        "test-00000-of-00001.parquet: 1 captions are empty: ROCOv2_2023_test_000002",
        "train-00001-of-00002.parquet cannot be read as parquet",
        "1 ids are in more than one split: ROCOv2_2023_train_000001",
        "1 ids stand more than once: ROCOv2_2023_valid_000001",
    ):
        assert expected in str(caught.value)


def test_other_columns_are_named(hub: Path) -> None:
    content = [{"image": row["image"], "text": row["caption"]} for row in rows("test", 3)]
    save(hub, "test-00000-of-00001.parquet", content)
    with pytest.raises(IntegrityError, match=r"no column image_id or caption or cui.*image, text"):
        opened(hub)


def test_nothing_there_gives_the_command(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"hf download eltorio/ROCOv2-radiology --repo-type data"):
        opened(tmp_path)


def test_without_pyarrow_the_extra_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(SetupError, match=r"pip install 'omnibench\[parquet\]'"):
        rocov2_parquet.open_parquet("rocov2", hub, DataAccess(root=hub))
