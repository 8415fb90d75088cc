"""Several results folders as one: records are copied bit for bit, and checked before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omnibench.errors import IntegrityError, UsageError
from omnibench.interfaces import Progress
from omnibench.store import Store


@dataclass
class Merged:
    """What became of the records of one folder.

    Args:
        source: The folder.
        copied: How many were new.
        known: How many were there already.
        damaged: Why others were left out.
    """

    source: Path
    copied: int = 0
    known: int = 0
    damaged: list[str] = field(default_factory=list)


def merge(sources: Sequence[Path], target: Path, progress: Progress) -> list[Merged]:
    """Copy every record of some results folders into another, which may hold some already.

    Nothing is overwritten; of one run several outcomes are kept side by side, and whoever reads
    them says that they differ. A damaged record is left out and does not stop the others.

    Raises:
        UsageError: If a source holds no records, or is the target.
        SetupError: If the target cannot be written to.
    """
    paths = {source: list(Store(source).paths()) for source in sources}
    for source, found in paths.items():
        if not found:
            raise UsageError(f"{source} holds no records; give the folders that --results named")
        if source.resolve() == target.resolve():
            raise UsageError(f"{source} cannot be merged into itself")
    into = Store(target)
    into.require_writable()
    merged = []
    progress.start("copying records", sum(map(len, paths.values())))
    for source, found in paths.items():
        told = Merged(source)
        for path in found:
            try:
                new = into.take(Store(source), path)
            except IntegrityError as error:
                told.damaged.append(str(error))
            else:
                told.copied += new
                told.known += not new
            progress.advance()
        merged.append(told)
    return merged
