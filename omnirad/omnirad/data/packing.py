"""Write packed shards (see `omnirad.data.packed`), atomically and so that a stop loses little.

Everything is written to `<out>.partial`; a shard counts once its rows are beside it, and the folder
is renamed when all is there. The same call on the same images continues where it was stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from omnirad.atomic import disk_errors, written
from omnirad.data import packed
from omnirad.data.crops import Box, resized
from omnirad.data.decoding import luma
from omnirad.data.manifest import COLUMNS, csv_line, encoded, row, write_manifest
from omnirad.data.packed import INDEX, INDEX_FILE, MANIFEST, META, Encoding, PackedSource
from omnirad.data.sources import Array, Content, Source
from omnirad.errors import DataError, SetupError, UsageError
from omnirad.progress import Progress, Silent

SHARD_BYTES = 256 * 2**20
SIDE = 256  # pixels of the shorter side: 224-pixel crops keep something to choose from
PROBES = 32  # images encoded to estimate how large all of them will be
MARGIN = 1.1  # free space asked for, over the estimate
PLAN, CHECKED = "plan.json", "source.csv"
Rows = list[list[str]]  # cells of the manifest, then offset and length


def pack(
    source: Source,
    out: Path,
    *,
    size: int = SIDE,
    encoding: Encoding = "png",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> PackedSource:
    """Re-encode every image of a source once: grey, 8 bit, shorter side at most `size`.

    Args:
        source: What to pack; it is read once before anything is written, to find what is damaged.
        out: The folder to make; must not exist.
        size: Pixels of the shorter side; smaller images keep their size.
        encoding: `png` (lossless), or `raw` pixels, which are larger and need no decoding.
        shard_bytes: Size at which a shard is closed.
        progress: Where to report.

    Raises:
        UsageError: If size or encoding cannot be meant.
        SetupError: If `out` exists, or the disk has too little space.
        DataError: If images cannot be read, or a stopped pack of something else is in the way.
    """
    if size < 1 or encoding not in ("png", "raw"):
        raise UsageError(f"size {size}, encoding {encoding!r}: give 1 or more, and png or raw")
    if out.exists():
        raise SetupError(f"{out} exists already; name another folder, or remove it to pack again")
    progress = progress or Silent()
    partial = out.with_name(out.name + ".partial")
    with disk_errors(partial):
        partial.mkdir(parents=True, exist_ok=True)
        plan = {
            "format": packed.FORMAT,
            "source": source.name,
            "source_manifest": write_manifest(source, partial / CHECKED, progress),
            "size": size,
            "encoding": encoding,
            "shard_bytes": shard_bytes,
        }
        _agree_on_plan(partial, plan)
        shards = sum(1 for _ in partial.glob("shard-*.csv"))
        done = sum(len(_rows(partial, number)) for number in range(shards))
        _require_space(source, partial, done, size, encoding)
        progress.start("packing images", len(source))
        progress.advance(done)
        while done < len(source):
            done += _write_shard(source, partial, shards, done, plan, progress)
            shards += 1
        _finish(partial, shards, plan)
        partial.rename(out)
    return packed.open_packed(out)


def encode(image: Array, size: int, encoding: Encoding) -> tuple[bytes, int, int]:
    """Return an image's bytes as packed, its height and its width.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        size: Pixels of the shorter side at most.
        encoding: `png` or `raw`.
    """
    grey = luma(image)
    height, width = grey.shape
    shrink = size / min(height, width)
    if shrink < 1:
        small = max(1, round(height * shrink)), max(1, round(width * shrink))
        grey = resized(grey, Box(0, 0, height, width), *small)
    if encoding == "raw":
        return grey.tobytes(), *grey.shape
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue(), *grey.shape


def _agree_on_plan(partial: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or compare it with that of a pack that was stopped."""
    path = partial / PLAN
    if not path.exists():
        with written(path, "w") as stream:
            json.dump(plan, stream, indent=2)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name in plan if before.get(name) != plan[name]]
    if changed:
        raise DataError(
            f"{partial} is a stopped pack with other values of {', '.join(changed)}; repeat that "
            "call to finish it, or remove the folder"
        )


def _require_space(source: Source, partial: Path, done: int, size: int, encoding: Encoding) -> None:
    """Estimate from some images, evenly spread, what is still to be written."""
    left = range(done, len(source))
    probes = left[:: max(1, len(left) // PROBES)]
    lengths = [len(encode(source.image(index), size, encoding)[0]) for index in probes]
    needed = MARGIN * len(left) * float(np.mean(lengths)) if lengths else 0.0
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise SetupError(
            f"packing {len(left)} images needs about {needed / 1e9:.2f} GB, {partial.parent} has "
            f"{free / 1e9:.2f} GB free; free some space, or name another folder or a smaller size"
        )


def _write_shard(
    source: Source, partial: Path, number: int, start: int, plan: dict[str, Any], progress: Progress
) -> int:
    """Write one shard and then its rows; return the number of images in it."""
    rows: list[str] = []
    offset = 0
    with (partial / packed.shard_name(number)).open("wb") as stream:
        for index in range(start, len(source)):
            if offset >= plan["shard_bytes"]:
                break
            data, height, width = encode(source.image(index), plan["size"], plan["encoding"])
            content = Content(height, width, hashlib.sha1(data, usedforsecurity=False).hexdigest())
            rows.append(csv_line([*row(source.sample(index), content), offset, len(data)]))
            stream.write(data)
            offset += len(data)
            progress.advance()
        stream.flush()
        os.fsync(stream.fileno())
    with written(_rows_path(partial, number), "w") as table:
        table.writelines(rows)
    return len(rows)


def _finish(partial: Path, shards: int, plan: dict[str, Any]) -> None:
    """Write manifest, index and description; remove what only a stopped pack needs."""
    labels = sorted({cells[4] for _, cells in _all_rows(partial, shards) if cells[4]})
    count = sum(1 for _ in _all_rows(partial, shards))
    index = np.zeros(count, dtype=INDEX)
    codes = {label: code for code, label in enumerate(labels)}
    with written(partial / MANIFEST) as stream:
        stream.write(encoded(csv_line(COLUMNS)))
        for position, (number, cells) in enumerate(_all_rows(partial, shards)):
            *known, offset, length = cells
            sha1 = np.frombuffer(bytes.fromhex(known[8]), dtype=np.uint8)
            index[position] = (
                number, int(offset), int(length), int(known[6]), int(known[7]),
                codes.get(known[4], -1), stream.tell(), sha1,
            )  # fmt: skip
            stream.write(encoded(csv_line(known)))
    with written(partial / INDEX_FILE) as stream:
        np.save(stream, index, allow_pickle=False)
    names = [MANIFEST, INDEX_FILE, *map(packed.shard_name, range(shards))]
    files = {
        name: {"bytes": (partial / name).stat().st_size, "sha256": packed.sha256(partial / name)}
        for name in names
    }
    with written(partial / META, "w") as stream:
        json.dump({**plan, "images": count, "labels": labels, "files": files}, stream, indent=2)
    for leftover in (PLAN, CHECKED, *(_rows_path(partial, n).name for n in range(shards))):
        (partial / leftover).unlink()


def _rows_path(partial: Path, number: int) -> Path:
    return partial / packed.shard_name(number).replace(".bin", ".csv")


def _rows(partial: Path, number: int) -> Rows:
    path = _rows_path(partial, number)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.reader(stream))


def _all_rows(partial: Path, shards: int) -> Iterator[tuple[int, Sequence[str]]]:
    for number in range(shards):
        for cells in _rows(partial, number):
            yield number, cells
