"""Predictions that are not those of the record (statistics.md, section 5, row 9)."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_records import arrays, record

from omnibench import predictions
from omnibench.errors import IntegrityError
from omnibench.predictions import describe, pack, unpack
from omnibench.store import Store

ARRAYS = arrays(cases=60)
RECORD = record(predictions=ARRAYS)
WHOLE = pack(ARRAYS)
TOLD = describe(WHOLE, ARRAYS)
FLIPS = 1500


def restated(data: bytes, told: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a description that calls `data` right: what a forger would write."""
    stated = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return {**(told or TOLD), **stated}


def test_a_file_cut_at_every_seventh_byte_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(RECORD, ARRAYS)
    path = next(tmp_path.rglob("*.npz"))
    cuts = range(0, len(WHOLE), 7)
    for length in cuts:
        path.write_bytes(WHOLE[:length])
        with pytest.raises(IntegrityError, match="predictions have digest"):
            store.predictions(RECORD)
        with pytest.raises(IntegrityError):
            unpack(WHOLE[:length], restated(WHOLE[:length]), "x")
    assert len(cuts) >= 297  # statistics.md, section 5


def flips() -> list[int]:
    return random.Random(0).sample(range(8 * len(WHOLE)), FLIPS)


def flipped(bit: int) -> bytes:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def test_every_flipped_bit_is_refused() -> None:
    for bit in flips():
        with pytest.raises(IntegrityError, match="predictions have digest"):
            unpack(flipped(bit), TOLD, "x")


def test_behind_the_digest_a_flipped_bit_gives_equal_arrays_or_one_error() -> None:
    """Where a forger states the digest of a damaged file, nothing but `IntegrityError` comes out."""
    refused = 0
    for bit in flips():
        data = flipped(bit)
        try:
            found = unpack(data, restated(data), "x")
        except IntegrityError:
            refused += 1
        else:
            assert all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS), bit
    assert refused > 0.5 * FLIPS


# ---- twelve forgeries, each under a digest that is right ----------------------------------


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    return {f"{name}.npy": npy(array) for name, array in sorted(ARRAYS.items())}


def zipped(
    parts: list[tuple[str, bytes]] | dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in parts.items() if isinstance(parts, dict) else parts:
            archive.writestr(name, data)
    return buffer.getvalue()


def header_of(shape: tuple[int, ...], values: bytes = b"\0" * 16) -> bytes:
    buffer = io.BytesIO()
    told = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, told)
    return buffer.getvalue() + values


def swapped_arrays() -> bytes:
    parts = members()
    one, two = "test_score.npy", "test_label.npy"
    return zipped({**parts, one: parts[two], two: parts[one]})


def object_array() -> bytes:
    return zipped({**members(), "test_score.npy": npy(np.array([{}], dtype=object))})


def forged_header() -> bytes:
    return zipped({**members(), "test_score.npy": header_of((1 << 39, 3))})  # 6 TiB


def negative_header() -> bytes:
    return zipped({**members(), "test_score.npy": header_of((-6, 2))})


def endless_header() -> bytes:
    long = b"\x93NUMPY\x02\x00" + (200_000).to_bytes(4, "little") + b"(" * 200_000
    return zipped({**members(), "test_score.npy": long})


def bomb() -> bytes:
    return zipped({**members(), "test_score.npy": b"\0" * 100_000_000})


def lying_size() -> bytes:
    """A central directory that claims 3 GiB for a member of some bytes."""
    data = bytearray(zipped(members()))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = (3 << 30).to_bytes(4, "little")
    return bytes(data)


def outside() -> bytes:
    return zipped({**members(), "../test_score.npy": members()["test_score.npy"]})


def duplicate() -> bytes:
    other = npy(ARRAYS["test_score"][::-1].copy())
    return zipped([*members().items(), ("test_score.npy", other)])


def extra() -> bytes:
    return zipped({**members(), "more.npy": npy(np.zeros(1))})


def wrong_name() -> bytes:
    parts = members()
    parts["test_scores.npy"] = parts.pop("test_score.npy")
    return zipped(parts)


def other_compression() -> bytes:
    return zipped(members(), zipfile.ZIP_LZMA)


def trailing_values() -> bytes:
    return zipped({**members(), "test_score.npy": members()["test_score.npy"] + b"\0" * 8})


FORGERIES = [
    *(swapped_arrays, object_array, forged_header, negative_header, endless_header, bomb),
    *(lying_size, outside, duplicate, extra, wrong_name, other_compression, trailing_values),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forgery_is_refused_before_anything_is_allocated(forge: Callable[[], bytes]) -> None:
    data = forge()
    told = restated(data)
    unpack(WHOLE, TOLD, "x")  # what is imported late
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError) as raised:
            unpack(data, told, "x.npz")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value) and str(raised.value).startswith("x.npz: ")
    assert peak < 4 * len(data) + 500_000, peak


def test_a_name_that_leaves_the_archive_is_refused_even_where_the_record_states_it() -> None:
    data = zipped({"../x.npy": npy(np.zeros(2))})
    told = restated(data, {"arrays": {"../x": ["<f8", [2]]}})
    with pytest.raises(IntegrityError, match="other arrays than the record states"):
        unpack(data, told, "x")
    with pytest.raises(IntegrityError, match="cannot be called"):
        pack({"../x": np.zeros(2)})


def test_more_than_the_limit_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "MAX_BYTES", 1000)
    with pytest.raises(IntegrityError, match="predictions would unpack to"):
        unpack(WHOLE, TOLD, "x")
    with pytest.raises(IntegrityError, match="at most 1000 are read"):
        pack(ARRAYS)


CHILD = """
import resource, sys
from pathlib import Path
from sample_records import arrays, record
from omnibench.errors import IntegrityError
from omnibench.store import Store

import numpy
store = Store(Path(sys.argv[1]))
made = record(predictions=arrays(cases=60))
store.predictions(made)
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with next(store.root.rglob("*.npz")).open("r+b") as file:
    file.truncate(10 << 30)
try:
    store.predictions(made)
except IntegrityError as error:
    print(error)
"""


def test_a_file_of_ten_gigabytes_is_not_even_read(tmp_path: Path) -> None:
    Store(tmp_path).save(RECORD, ARRAYS)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "tools"), "OMP_NUM_THREADS": "1"},
    )
    assert "predictions have digest" in child.stdout, child.stderr


def test_fortran_order_and_every_type_survive() -> None:
    kept = {
        "test_id": np.arange(3),
        "test_text": np.array(["a", "naïve", "\U0001f9e0"]),
        "test_counts@448": np.asfortranarray(np.arange(24).reshape(3, 2, 4)),
        "test_flag": np.array([True, False, True]),
        "gallery_mask@448": np.zeros((0, 4), dtype=np.uint8),
        "scalar": np.array(1.5),
    }
    data = pack(kept)
    found = unpack(data, describe(data, kept), "x")
    assert list(found) == sorted(kept)
    for name, array in kept.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
