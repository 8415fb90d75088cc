"""What a doctor found about one topic, and an encoder that it must not build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnibench.doctor.findings import Finding


def build(**_: Any) -> Any:
    raise AssertionError("a doctor builds nothing")


def about(found: Iterator[Finding], topic: str) -> list[Finding]:
    return [finding for finding in found if finding.topic == topic]
