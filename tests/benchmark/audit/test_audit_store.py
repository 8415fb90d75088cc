from __future__ import annotations

import pytest

from omnibench.audit import audit, cases, rows
from omnibench.features.cache import FeatureStore


@pytest.fixture
def dataset(memory, texture):
    """Return datasets that are equal and count what is read."""
    images = [texture(s) for s in range(9)]
    return lambda: memory(images[:5], images[5:7], [*images[7:], images[0]])


def reads(data):
    return sum(split.reads for split in data.splits.values())


def test_a_second_audit_reads_no_image_and_finds_the_same(store, dataset):
    first, again = dataset(), dataset()
    found = audit(first, store=store)
    assert reads(first) == 10
    assert audit(again, store=store) == found and reads(again) == 0


def test_a_store_changes_nothing(store, dataset):
    assert audit(dataset(), store=store) == audit(dataset())


def test_a_killed_audit_goes_on_where_it_was(store, monkeypatch, dataset):
    monkeypatch.setattr(rows, "SHARD_ROWS", 2)
    data = dataset()
    image = data.splits["val"].images[1]
    data.splits["val"].images[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        audit(data, store=store)
    mended = dataset()
    mended.splits["val"].images[1] = image
    assert audit(mended, store=store) == audit(dataset())
    assert reads(mended) == 4  # the first three blocks of two were kept


@pytest.mark.parametrize(
    "change", [{"digest": "ef" * 32}, {"name": "other"}, {"facts": {"windowing": "another"}}]
)
def test_other_data_are_audited_anew(store, change, dataset):
    audit(dataset(), store=store)
    other = dataset()
    for field, value in change.items():
        setattr(other, field, value)
    audit(other, store=store)
    assert reads(other) == 10


@pytest.mark.parametrize("part", ["source_code", "versions"])
def test_other_code_and_decoders_read_anew(store, monkeypatch, dataset, part):
    audit(dataset(), store=store)
    monkeypatch.setattr(cases.environment, part, lambda told: "other")
    other = dataset()
    audit(other, store=store)
    assert reads(other) == 10


def test_what_could_not_be_read_is_asked_again(store, dataset):
    data = dataset()
    image, data.splits["val"].images[1] = data.splits["val"].images[1], None
    assert audit(data, store=store).damaged == 1
    data.splits["val"].images[1] = image  # as after a disk's bad day: the same digest
    found = audit(data, store=store)
    assert found.damaged == 0 and found == audit(dataset())


def test_a_damaged_file_of_the_store_is_computed_again(store, caplog, dataset):
    found = audit(dataset(), store=store)
    for file in store.root.glob("??/*/*.rows"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert audit(dataset(), store=store) == found
    assert "is damaged" in caplog.text


def test_without_room_everything_is_computed_in_memory(tmp_path, dataset):
    found = audit(dataset(), store=FeatureStore(tmp_path / "small", 10))
    assert found == audit(dataset())
