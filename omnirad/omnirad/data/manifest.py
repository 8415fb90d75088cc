"""One row for every image of a source; whatever is trained is keyed on the table's digest."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from omnirad.atomic import written
from omnirad.data.sources import Content, Sample, Source, listed
from omnirad.errors import DataError, IntegrityError
from omnirad.progress import Progress, Silent

COLUMNS = (
    "id", "source", "modality", "anatomy", "label", "split", "height", "width", "sha1",
)  # fmt: skip


def write_manifest(source: Source, path: Path, progress: Progress | None = None) -> str:
    """Read every image once and write the table; called before training.

    Args:
        source: What will be trained on.
        path: The CSV file to write.
        progress: Where to report.

    Returns:
        The SHA-256 (hex) of the table.

    Raises:
        DataError: If images cannot be read; all of them are counted.
        SetupError: If the table cannot be written.
    """
    digest = hashlib.sha256()
    with written(path, "w") as stream:
        for line in chain([csv_line(COLUMNS)], _lines(source, progress or Silent())):
            stream.write(line)
            digest.update(encoded(line))
    return digest.hexdigest()


def row(sample: Sample, content: Content) -> Sequence[str | int]:
    """Return the cells of one image, in the order of `COLUMNS`."""
    return (
        sample.id,
        sample.source,
        sample.modality,
        sample.anatomy,
        sample.label,
        sample.split,
        content.height,
        content.width,
        content.sha1,
    )


def csv_line(cells: Sequence[str | int]) -> str:
    """Return one line of the table, with its line end."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def encoded(line: str) -> bytes:
    """Return a line as it stands in the file; file names need not be UTF-8."""
    return line.encode(errors="surrogateescape")


def parsed(line: bytes) -> Sample:
    """Return the sample of one line of the table."""
    text = line.decode(errors="surrogateescape")
    cells = next(csv.reader(io.StringIO(text, newline="")))
    values = dict(zip(COLUMNS, cells, strict=True))
    return Sample(**{name: values[name] for name in COLUMNS[:6]})


def _lines(source: Source, progress: Progress) -> Iterator[str]:
    """Yield the line of every image; raise at the end if some could not be read."""
    progress.start("checking images", len(source))
    problems: dict[str, str] = {}
    for index in range(len(source)):
        sample = source.sample(index)
        try:
            yield csv_line(row(sample, source.inspect(index)))
        except (DataError, IntegrityError) as error:
            problems[sample.id] = str(error)
        progress.advance()
    if problems:
        raise DataError(
            f"{len(problems)} of {len(source)} images cannot be read: {listed(problems)}; the "
            f"first says: {problems[min(problems)]}; replace or remove them"
        )
