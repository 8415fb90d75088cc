"""SIGKILL at random times, and many writers at once (statistics.md, section 5, rows 1 and 5)."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from children import join, kill_after, start
from sample_records import arrays, record

from omnibench.records import RunRecord
from omnibench.store import Store

SEEDS = 12
PROCESSES, IDS, DISPUTED = 6, 100, 25
PICTURES = {seed: b"\x89PNG" + bytes([seed]) * 20_000 for seed in range(SEEDS)}
MADE = {seed: (record(seed), arrays(seed)) for seed in range(SEEDS)}


def save_all(store: Store, first: int) -> None:
    """Do what runs do: weights, predictions, records and pictures, seed after seed."""
    for number in itertools.count(first):
        seed = number % SEEDS
        made, predictions = MADE[seed]
        store.save_weights({"w": np.full(5000, seed, dtype=np.float32)})
        path = store.save(made, predictions)
        store.save_picture(made.run_id, PICTURES[seed])
        path.unlink()  # so that the next round writes it anew
        store.save(made, predictions)


def visible(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")]


def require_whole(store: Store) -> int:
    """Raise unless every file with a name is whole; return how many there are."""
    files = visible(store.root)
    known = {made.run_id: (made, seed) for seed, (made, _) in MADE.items()}
    for path in files:
        if path.suffix == ".json":
            found = store.read(path)
            made, seed = known[found.run_id]
            assert found == made
            predictions = store.predictions(found)
            assert all(np.array_equal(predictions[n], a) for n, a in MADE[seed][1].items())
        elif path.suffix == ".png":
            assert path.read_bytes() == PICTURES[known[path.stem][1]]
        else:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    return len(files)


def kill(root: Path, times: int) -> int:
    """Kill a writer many times; return in how many files it was caught at work."""
    store, drawn, caught = Store(root), random.Random(0), 0
    for number in range(times):
        first, (begun, ready) = drawn.randrange(SEEDS), os.pipe()
        pid = start(
            lambda ready=ready, first=first: (os.write(ready, b"."), save_all(store, first))
        )
        os.read(begun, 1)
        os.close(begun), os.close(ready)
        assert kill_after(drawn.uniform(0, 0.03), pid), "the writer ended by itself"
        strays = list(root.rglob(f".{pid}-*"))
        caught += len(strays)
        assert len(strays) <= 1
        if number % 10 == 0:
            require_whole(store)
    assert require_whole(store) > SEEDS
    return caught


def require_sweep(root: Path) -> None:
    """Strays stay for an hour, and longer while their writer lives; then they are gone."""
    store = Store(root)
    mine = root / f".{os.getpid()}-of-a-living-writer"
    mine.write_bytes(b"")
    strays = [path for path in root.rglob(".*") if path.is_file()]
    store.require_writable()
    assert all(path.exists() for path in strays)
    for path in strays:
        os.utime(path, (time.time() - 3700,) * 2)
    before = len(visible(root))
    store.require_writable()
    assert [path for path in strays if path.exists()] == [mine]
    assert len(visible(root)) == before


@pytest.fixture
def disk_of_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flushing take a time, so that kills meet files that are not whole yet."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: time.sleep(0.001))


@pytest.mark.parametrize("times", [100, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("disk_of_a_millisecond")
def test_a_killed_writer_leaves_whole_files_only(tmp_path: Path, times: int) -> None:
    caught = kill(tmp_path, times)
    print(f"{caught} of {times} kills met a file that was not whole")
    assert caught >= times / 10, "too few kills met a write for this to say anything"
    require_sweep(tmp_path)


@pytest.mark.parametrize("name", [".0-x", f".{10**15}-x", ".12x-y", ".-1-x", ".1٣-x", ".99-"])
def test_odd_names_are_no_strays_and_no_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    os.utime(path, (0, 0))
    Store(tmp_path).require_writable()
    assert path.exists()


# ---- several writers at once (row 5) -----------------------------------------------------


def race(store: Store, made: list[list[tuple[RunRecord, dict]]]) -> None:
    """Let each process save its records, all in the same order and from the same moment on."""
    begin = time.time() + 0.3

    def save(mine: list[tuple[RunRecord, dict]]) -> None:
        time.sleep(max(0.0, begin - time.time()))
        for one, predictions in mine:
            store.save(one, predictions)

    children = [start(lambda mine=mine: save(mine)) for mine in made]
    assert [join(pid) for pid in children] == [0] * len(made)
    assert [path for path in store.root.rglob(".*") if path.is_file()] == []


def test_six_equal_writers_make_one_record_an_id(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mine = [(record(seed), arrays(seed)) for seed in range(IDS)]
    race(store, [mine] * PROCESSES)
    paths = list(store.paths())
    assert len(paths) == IDS == len({path.parent.name for path in paths})
    assert len(visible(tmp_path)) == 2 * IDS
    for made, predictions in mine:
        found = store.find(made.run_id)
        assert found is not None and found[0] == made
        assert np.array_equal(store.predictions(made)["test_score"], predictions["test_score"])


def test_six_disagreeing_writers_are_all_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)

    def of(process: int, seed: int) -> tuple[RunRecord, dict]:
        predictions = arrays(1000 * process + seed)
        metric = {"value": process / 10, "unit": "fraction", "higher_is_better": True}
        ended = {"ended": f"2026-01-01T00:00:{59 - process}+00:00"}
        return record(seed, predictions, metrics={"accuracy": metric}, timing=ended), predictions

    made = [[of(process, seed) for seed in range(DISPUTED)] for process in range(PROCESSES)]
    race(store, made)
    paths = list(store.paths())
    assert len(paths) == PROCESSES * DISPUTED and len({path.parent for path in paths}) == DISPUTED
    assert all(store.predictions(store.read(path)) for path in paths)
    with caplog.at_level(logging.WARNING):
        found = store.find(made[0][7][0].run_id)
    assert "REPLICATES DIFFER" in caplog.text
    assert found is not None and found[0] == made[-1][7][0], "the earliest is used"
