"""The N-th call to the disk fails, for every N (statistics.md, section 5, row 2)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_disk import ERRORS, FaultyDisk, every_fault
from sample_records import arrays, record

from omnibench import store as stores
from omnibench.errors import OmnibenchError, SetupError
from omnibench.features.cache import FeatureStore
from omnibench.features.shards import Draft
from omnibench.store import Store

PNG = b"\x89PNG" * 50


def save_record(store: Store) -> None:
    store.save(record(1), arrays(1))


def save_failed_record(store: Store) -> None:
    failure = {"kind": "oom", "message": "out of memory"}
    store.save(record(1, status="failed", metrics={}, predictions=None, failure=failure), {})


def save_weights(store: Store) -> None:
    store.save_weights(arrays(1))


def save_picture(store: Store) -> None:
    store.save_picture("ab" * 32, PNG)


def visible(root: Path) -> dict[str, bytes]:
    """Every file that a reader would take for finished."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def strays(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("save", [save_record, save_failed_record, save_weights, save_picture])
def test_whatever_call_fails_what_is_there_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Store], None]
) -> None:
    whole = Store(tmp_path / "undisturbed")
    save(whole)  # also imports what is imported late
    expected = visible(whole.root)
    for number, disk in enumerate(every_fault()):
        store = Store(tmp_path / str(number))
        store.save(record(0), arrays(0))
        before = visible(store.root)
        told = None
        with disk:
            try:
                save(store)
            except SetupError as error:
                told = error
        found = visible(store.root)
        assert {name: found.get(name) for name in before} == before, disk
        added = {name: data for name, data in found.items() if name not in before}
        assert added.items() <= expected.items(), disk
        if told is None:
            assert added == expected, disk
        else:
            needed = {f"; {len(data)} bytes are needed" for data in expected.values()}
            assert disk.broke and os.strerror(disk.code) in str(told), disk
            assert str(store.root) in str(told) and any(n in str(told) for n in needed), told
        _require_swept(store, monkeypatch)
        save(store)
        assert visible(store.root) == before | expected, disk
        assert strays(store.root) == [], disk


def _require_swept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stays behind is gone an hour after its writer."""
    for path in strays(store.root):
        os.utime(path, (0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(stores, "_is_alive", lambda pid: False)
        store.require_writable()
    assert strays(store.root) == []


@pytest.mark.parametrize("code", ERRORS)
def test_every_call_of_a_save_is_broken_once(tmp_path: Path, code: int) -> None:
    with FaultyDisk() as disk:
        save_record(Store(tmp_path / "whole"))
    for number, name in enumerate(disk.calls, start=1):
        with FaultyDisk(number, code) as broken, contextlib.suppress(SetupError):
            save_record(Store(tmp_path / f"{number}"))
        assert broken.broke and broken.calls[number - 1] == name
    assert {"open", "write", "fsync", "link", "mkdir", "unlink"} <= set(disk.calls)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_links_or_folder_sync_still_keeps_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path)
    for _ in range(2):
        save_record(store)
    assert store.find(record(1).run_id) and not strays(tmp_path) and len(visible(tmp_path)) == 2


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: b"", lambda d: b"\0" + d[1:]])
def test_a_damaged_file_gives_way_when_the_run_is_made_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    store = Store(tmp_path)
    path = store.save(record(1), arrays(1))
    predictions = next(path.parent.glob("*.npz"))
    predictions.write_bytes(damage(predictions.read_bytes()))
    with pytest.raises(OmnibenchError, match=r"Move the record beside it \(\.json\) away"):
        store.find(record(1).run_id)
    path.unlink()
    store.save(record(1), arrays(1))
    found = store.find(record(1).run_id)
    assert found is not None and found[0] == record(1)


def test_reading_a_failing_disk_is_said_and_is_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(1), arrays(1))
    for read in (lambda: store.read(path), lambda: store.predictions(record(1))):
        with FaultyDisk(1, errno.EIO), pytest.raises(SetupError, match="Input/output error"):
            read()


# ---- features ----------------------------------------------------------------------------

WHAT = {"layers": [3]}
ROWS, WIDTH, SHARD = 10, 64, 4


def produce(draft: Draft, start: int, stop: int) -> dict[str, float]:
    for row in range(start, stop):
        draft.add(memoryview(bytes([row]) * WIDTH))
    return {"seconds": 1.0}


def obtain(store: FeatureStore) -> list[int] | None:
    shards = store.obtain(
        WHAT, ROWS, row_bytes=WIDTH, shard_rows=SHARD, produce=produce, what="taps"
    )
    if shards is None:
        return None
    found = []
    for shard in shards:
        for row in range(shard.description["rows"]):
            buffer = bytearray(WIDTH)
            shard.read(row, WIDTH, [buffer])
            assert len(set(buffer)) == 1
            found.append(buffer[0])
    return found


@pytest.mark.parametrize("state", ["cold", "half", "warm", "damaged"])
def test_a_feature_is_right_or_computed_again(tmp_path: Path, state: str) -> None:
    obtain(FeatureStore(tmp_path / "imports", 10**9))
    for number, disk in enumerate(every_fault()):
        store = FeatureStore(tmp_path / f"{number}", 10**9)
        if state != "cold":
            obtain(store)
            shards = sorted(store.root.rglob("*.rows"))
            if state == "half":
                shards[1].unlink()
            if state == "damaged":
                shards[1].write_bytes(shards[1].read_bytes()[:-1])
        found = None
        with disk, contextlib.suppress(SetupError):  # a row that is asked for and cannot be read
            found = obtain(store)
        assert found in (None, list(range(ROWS))), disk
        assert found is not None or disk.broke, disk
        assert obtain(store) == list(range(ROWS)), disk
