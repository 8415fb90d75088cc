"""Where long loops report; silent unless somebody listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Shows how far a loop is."""

    def start(self, label: str, total: int) -> None:
        """Begin a stretch of `total` steps."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report finished steps and, optionally, a short note."""


class Silent:
    """A `Progress` that says nothing."""

    def start(self, label: str, total: int) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say nothing."""
