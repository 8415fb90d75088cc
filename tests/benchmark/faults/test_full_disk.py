"""A disk that takes no more than some bytes a file (statistics.md, section 5, row 3)."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from children import answer
from sample_records import arrays, record

from omnibench.errors import SetupError
from omnibench.features.cache import FeatureStore
from omnibench.features.shards import Draft
from omnibench.store import Store
from omnibench_leaderboard.outputs import folder

LIMIT = 20_000  # bytes of a file; records and predictions of the samples take less
LARGE = np.random.default_rng(0).normal(size=5000)


def predictions(root: Path) -> object:
    large = {**arrays(1), "test_extra": LARGE}
    return Store(root).save(record(1, large), large)


def long_record(root: Path) -> object:
    made = record(1, details={"train_losses": LARGE.tolist()})
    return Store(root).save(made, arrays(0))


def weights(root: Path) -> object:
    return Store(root).save_weights({"w": LARGE})


def picture(root: Path) -> object:
    return Store(root).save_picture("ab" * 32, LARGE.tobytes())


def site(root: Path) -> object:
    folder.replace(root / "site", {"index.html": b"new", "table.js": LARGE.tobytes()})
    return root


def features(root: Path) -> object:
    def produce(draft: Draft, start: int, stop: int) -> dict[str, float]:
        draft.add(memoryview(LARGE[start:stop].tobytes()))
        return {"seconds": 1.0}

    store = FeatureStore(root / "features", 10**9)
    return store.obtain(
        {"layers": [3]}, len(LARGE), row_bytes=8, shard_rows=4000, produce=produce, what="taps"
    )


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def limited(root: Path, write: Callable[[Path], object]) -> str:
    def work() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        try:
            return f"wrote {write(root)}"
        except SetupError as error:
            return f"{error.exit_code} {error}"

    return answer(work)


@pytest.mark.parametrize("write", [predictions, long_record, weights, picture, site, features])
def test_what_finds_no_room_leaves_nothing_and_harms_nothing(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    store = Store(tmp_path)
    store.save(record(0), arrays(0))
    folder.replace(tmp_path / "site", {"index.html": b"old", "board.json": b"{}"})
    before = contents(tmp_path)
    told = limited(tmp_path, write)
    after = contents(tmp_path)
    if write is features:
        assert told == "wrote None"
        assert {name for name in after if name not in before} <= {f"{n}" for n in _locks(tmp_path)}
    else:
        assert told.startswith("5 ") and "File too large" in told and str(tmp_path) in told
        assert after.keys() - before.keys() <= {p for p in after if p.endswith(".npz")}
    assert {name: after[name] for name in before} == before
    assert write(tmp_path), "with room, the same succeeds"
    assert len(list(store.paths())) in (1, 2)


def _locks(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("lock")]
