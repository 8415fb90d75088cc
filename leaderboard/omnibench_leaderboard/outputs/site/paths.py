"""Where pages lie: names of strangers become digests, never paths."""

from __future__ import annotations

import hashlib

from omnibench_leaderboard.board import Cell, Column


def dataset(column: Column) -> str:
    """Return the page of a column's dataset: one for each content under a name."""
    return f"datasets/{short(column.setting.dataset, column.dataset.content_sha256)}.html"


def encoder(label: str) -> str:
    """Return the page of an encoder."""
    return f"encoders/{short(label)}.html"


def comparison(first: str, second: str) -> str:
    """Return the page that compares two encoders."""
    return f"comparisons/{short(first, second)}.html"


def figure(kind: str, *names: str) -> str:
    """Return the file of a figure."""
    return f"figures/{kind}-{short(*names)}.svg"


def anchor(column: Column, cell: Cell) -> str:
    """Return the place of a cell's records on a page."""
    return f"r{short(column.name, cell.encoder)}"


def short(*names: str) -> str:
    """Return a digest of names that makes a safe file name."""
    text = "\0".join(f"{len(name)}:{name}" for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
