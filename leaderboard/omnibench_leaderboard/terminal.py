"""How verdicts and boards look on a terminal; `omnibench.console` does the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnibench import console

if TYPE_CHECKING:
    from omnibench_leaderboard.runs import Exclusion
    from omnibench_leaderboard.verify import Verdict


def print_verdict(verdict: Verdict) -> None:
    """Print what verifying found: every problem, then counts."""
    print_left_out("problems", verdict.problems)
    print_left_out("not for tables", verdict.notes)
    console.print_lines(
        [f"unfinished: {item.title}: {item.reason}" for item in verdict.collection.missing]
    )
    console.print_lines([verdict.summary])


def print_left_out(title: str, items: Sequence[Exclusion]) -> None:
    """Print what was left out and why, a paragraph each."""
    if items:
        console.print_lines([f"{title} ({len(items)}):"])
    for item in items:
        console.print_lines([f"  {item.kind}: {item.what}", f"    {item.reason}"])
        if item.path and item.path not in item.reason:
            console.print_lines([f"    {item.path}"])
