"""The run's log: one JSON object a line, cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from omnirad.atomic import disk_errors, written
from omnirad.errors import IntegrityError

Row = dict[str, Any]


class RunLog:
    """Appends to a file.

    Args:
        path: May exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, step: int) -> None:
        """Remove what was logged at `step` and later, which will be done again."""
        kept = [row for row in self.rows() if row["step"] < step]
        with written(self.path, "w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in kept)

    def append(self, row: Row) -> None:
        """Add a line; numbers that are not finite become null.

        Raises:
            SetupError: If the disk refuses.
        """
        clean = {name: None if _not_finite(value) else value for name, value in row.items()}
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(clean, allow_nan=False) + "\n")

    def rows(self) -> list[Row]:
        """Return all lines; a last one that a killed process left unfinished is ignored.

        Raises:
            IntegrityError: If another line cannot be read.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        rows = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                raise IntegrityError(
                    f"line {number} of {self.path} is damaged; remove that line to go on"
                ) from None
        return rows


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
