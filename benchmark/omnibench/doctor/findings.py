"""What a look at one thing found, and what it was looked for in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omnibench.errors import SetupError
from omnibench.registry import Registry

Verdict = Literal["PASS", "WARN", "FAIL"]
GIB = 2**30  # bytes


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a user works.

    Args:
        registry: Everything that plugins offer.
        data_root: Where datasets lie.
        cache: Where frozen outputs and the lock of weights lie.
        results: Where records go.
        offline: Never touch the network.
    """

    registry: Registry
    data_root: Path
    cache: Path
    results: Path
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one thing.

    Args:
        topic: The thing.
        verdict: PASS; WARN if some commands will not do; FAIL if none will.
        told: What was found, one line; never a secret.
        remedy: The command or step that mends it; empty for PASS.
        exit_code: What a FAIL makes the command exit with.
    """

    topic: str
    verdict: Verdict
    told: str
    remedy: str = ""
    exit_code: int = SetupError.exit_code


def passed(topic: str, told: str) -> Finding:
    """Return a finding that nothing need be done about."""
    return Finding(topic=topic, verdict="PASS", told=told)


def warned(topic: str, told: str, remedy: str) -> Finding:
    """Return a finding that hinders some commands."""
    return Finding(topic=topic, verdict="WARN", told=told, remedy=remedy)


def failed(topic: str, told: str, remedy: str) -> Finding:
    """Return a finding that hinders every command."""
    return Finding(topic=topic, verdict="FAIL", told=told, remedy=remedy)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 unless something failed, then what the gravest failure means."""
    return max((f.exit_code for f in findings if f.verdict == "FAIL"), default=0)


def plain_data(finding: Finding) -> dict[str, str]:
    """Return plain JSON data."""
    return {
        "topic": finding.topic,
        "verdict": finding.verdict,
        "told": finding.told,
        "remedy": finding.remedy,
    }


def size_text(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
