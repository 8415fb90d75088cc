"""The store of frozen outputs: whole, first writer wins, bounded, and never a wrong byte."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from omnibench.errors import IntegrityError
from omnibench.features import cache
from omnibench.features.cache import FeatureStore
from omnibench.features.shards import Draft, Shard

WIDTH = 64  # bytes of a row; row n holds the byte n
WHAT = {"kind": "numbers", "layers": [1, 2]}
Usage = namedtuple("Usage", "total used free")


class Producer:
    """Writes rows and remembers which; can be told to break."""

    def __init__(self, fail_at: int | None = None, error: Exception | None = None) -> None:
        self.rows: list[int] = []
        self.fail_at, self.error = fail_at, error

    def __call__(self, draft: Draft, start: int, stop: int) -> dict[str, Any]:
        for row in range(start, stop):
            if row == self.fail_at:
                raise self.error or OSError(errno.ENOSPC, "No space left on device")
            self.rows.append(row)
            draft.add(memoryview(bytes([row]) * WIDTH))
        return {"seconds": 0.5}


def obtain(
    store: FeatureStore, produce: Any, count: int = 10, identity: Any = None, shard_rows: int = 4
) -> list[Shard] | None:
    return store.obtain(
        identity or WHAT,
        count,
        row_bytes=WIDTH,
        shard_rows=shard_rows,
        produce=produce,
        what="numbers",
    )


def contents(shards: list[Shard] | None) -> list[int]:
    assert shards is not None
    found = []
    for shard in shards:
        for row in range(shard.description["rows"]):
            left, right = bytearray(WIDTH // 4), bytearray(WIDTH - WIDTH // 4)
            shard.read(row, WIDTH, [left, right])
            assert len({*left, *right}) == 1
            found.append(left[0])
    return found


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", 10**9)


# ---- files -------------------------------------------------------------------------------


def written(path: Path) -> Path:
    with Draft(path) as draft:
        draft.add(memoryview(b"a" * 100))
        draft.publish({"rows": 1, "identity": "x"})
    return path


def test_nothing_is_there_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "0.rows"
    with Draft(path) as draft:
        draft.add(memoryview(b"a" * 100))
        assert not path.exists()
        draft.publish({"rows": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["0.rows"]
    with pytest.raises(ZeroDivisionError), Draft(tmp_path / "1.rows") as draft:
        draft.add(memoryview(b"a"))
        raise ZeroDivisionError
    assert [file.name for file in tmp_path.iterdir()] == ["0.rows"]


def test_the_first_writer_wins(tmp_path: Path) -> None:
    path = written(tmp_path / "0.rows")
    before = path.read_bytes()
    with Draft(path) as draft:
        draft.add(memoryview(b"b" * 100))
        draft.publish({"rows": 1})
    assert path.read_bytes() == before


def test_every_flipped_bit_and_every_missing_byte_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "0.rows")
    good = path.read_bytes()
    assert Shard(path).description == {"rows": 1, "identity": "x"}
    for position in range(len(good)):
        path.write_bytes(
            good[:position] + bytes([good[position] ^ 1 << position % 8]) + good[position + 1 :]
        )
        with pytest.raises(IntegrityError, match="is damaged"):
            Shard(path)
        path.write_bytes(good[:position])
        with pytest.raises(IntegrityError, match="is damaged"):
            Shard(path)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "0.rows")
    shard = Shard(path)
    os.truncate(path, 50)
    with pytest.raises(IntegrityError, match="became shorter"):
        shard.read(0, 100, [bytearray(100)])


# ---- computing what is missing -----------------------------------------------------------


def test_rows_are_computed_once(store: FeatureStore) -> None:
    first, second = Producer(), Producer()
    assert store.find(WHAT, 10) is None
    assert contents(obtain(store, first)) == list(range(10))
    assert contents(obtain(store, second)) == list(range(10))
    assert first.rows == list(range(10)) and second.rows == []
    assert contents(store.find(WHAT, 10)) == list(range(10))
    other = Producer()
    obtain(store, other, identity={**WHAT, "layers": [1]})
    assert other.rows == list(range(10))


def test_a_flipped_bit_costs_a_computation_and_never_a_wrong_row(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    obtain(store, Producer())
    [path] = store.root.rglob("00000004.rows")
    data = bytearray(path.read_bytes())
    data[WIDTH + 7] ^= 16
    path.write_bytes(data)
    again = Producer()
    assert contents(obtain(store, again)) == list(range(10))
    assert again.rows == [4, 5, 6, 7]
    assert "00000004.rows is damaged" in caplog.text


def test_an_entry_under_another_name_is_not_taken(store: FeatureStore) -> None:
    obtain(store, Producer())
    [folder] = (path.parent for path in store.root.rglob("00000000.rows"))
    other = {**WHAT, "layers": [7]}
    obtain(store, Producer(), identity=other)
    [target] = (p.parent for p in store.root.rglob("00000000.rows") if p.parent != folder)
    shutil.rmtree(target)
    shutil.copytree(folder, target)
    produce = Producer()
    obtain(store, produce, identity=other)
    assert produce.rows == list(range(10))


def test_a_full_disk_is_survived_without_leftovers(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert obtain(store, Producer(fail_at=6)) is None
    assert "No space left on device" in caplog.text
    assert sorted(p.name for p in store.root.rglob("*") if p.suffix) == ["00000000.rows"]
    resumed = Producer()
    assert contents(obtain(store, resumed)) == list(range(10))
    assert resumed.rows == list(range(4, 10))


def test_what_the_encoder_raises_is_not_swallowed(store: FeatureStore) -> None:
    with pytest.raises(IntegrityError, match="bad image"):
        obtain(store, Producer(fail_at=2, error=IntegrityError("bad image")))


def test_too_little_room_is_said_before_anything_is_computed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    produce = Producer()
    free = cache.RESERVE + 10 * WIDTH - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    assert obtain(store, produce) is None and produce.rows == []
    assert "are not kept: 6.4e-07 GB are needed and 6.39e-07 GB allowed" in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free + 1))
    assert contents(obtain(store, produce)) == list(range(10))


def test_how_much_and_where_is_said_before_it_starts(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def stop(draft: Draft, start: int, stop: int) -> dict[str, Any]:
        said = f"taps: 0.5 GB will be kept in {store.root}"
        assert said in caplog.text
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    found = store.obtain(WHAT, 5, row_bytes=10**8, shard_rows=1, produce=stop, what="taps")
    assert found is None and "Disk quota exceeded" in caplog.text


def test_a_folder_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where a folder should be")
    produce = Producer()
    assert obtain(FeatureStore(tmp_path / "features", 10**9), produce) is None
    assert produce.rows == []


# ---- bounds ------------------------------------------------------------------------------


def test_entries_unused_for_longest_make_room_and_open_ones_stay_readable(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 10**9)
    names = [{"name": name} for name in "abcd"]
    held = {}
    for age, identity in enumerate(names[:3]):
        held[age] = obtain(store, Producer(), identity=identity)
        os.utime(store._entry(identity).folder, (1000 + age, 1000 + age))
    assert store.find(names[0], 10)  # used again, so that b is now the oldest
    held_bytes = sum(p.stat().st_size for p in tmp_path.rglob("*.rows"))
    store = FeatureStore(tmp_path, held_bytes + 30 * WIDTH - 1)  # one byte too few for all four
    obtain(store, Producer(), count=30, identity=names[3])
    kept = [store.find(identity, 10) is not None for identity in names[:3]]
    assert kept == [True, False, True] and store.find(names[3], 30)
    assert contents(held[1]) == list(range(10))


def test_more_than_the_limit_is_never_begun(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 10 * WIDTH - 1)
    small = FeatureStore(tmp_path, 10**6)
    obtain(small, Producer(), count=2, identity={"name": "other"})
    produce = Producer()
    assert obtain(store, produce) is None and produce.rows == []
    assert small.find({"name": "other"}, 2), "nothing makes room for what cannot fit"


# ---- processes ---------------------------------------------------------------------------


def _slow(root: Path, log: Path, pause: float) -> None:
    """Compute ten rows slowly, noting each in a file of this process."""
    produced = Producer()

    def produce(draft: Draft, start: int, stop: int) -> dict[str, Any]:
        for row in range(start, stop):
            produced(draft, row, row + 1)
            (log / f"{os.getpid()}-{row}").touch()
            time.sleep(pause)
        return {"seconds": 1.0}

    assert contents(obtain(FeatureStore(root, 10**9), produce)) == list(range(10))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def _started(*arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_slow, args=arguments)
    process.start()
    return process


def test_two_processes_share_one_computation(tmp_path: Path, log: Path) -> None:
    pair = [_started(tmp_path / "features", log, 0.02) for _ in range(2)]
    for process in pair:
        process.join(30)
        assert process.exitcode == 0
    rows = sorted(int(file.name.partition("-")[2]) for file in log.iterdir())
    assert rows == list(range(10))


def test_two_processes_without_locks_agree(tmp_path: Path, log: Path, monkeypatch: Any) -> None:
    def acquire(self: Any, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    pair = [_started(tmp_path / "features", log, 0.02) for _ in range(2)]
    for process in pair:
        process.join(30)
        assert process.exitcode == 0
    assert contents(FeatureStore(tmp_path / "features", 10**9).find(WHAT, 10)) == list(range(10))


def test_a_killed_writer_loses_one_shard_and_leaves_nothing_else(tmp_path: Path, log: Path) -> None:
    process = _started(tmp_path / "features", log, 0.05)
    deadline = time.monotonic() + 20
    while not list(log.glob("*-5")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    store = FeatureStore(tmp_path / "features", 10**9)
    assert len(list(store.root.rglob("*.part"))) == 1, "it was killed in the middle of a shard"
    assert store.find(WHAT, 10) is None
    resumed = Producer()
    assert contents(obtain(store, resumed)) == list(range(10))
    assert resumed.rows == list(range(4, 10))
    assert not list(store.root.rglob("*.part"))
