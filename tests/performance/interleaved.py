"""Candidates timed in turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

Times = dict[str, list[float]]


def times(candidates: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Return the CPU seconds of each candidate in each round, after one round not counted.

    CPU time of the process: with one thread, others on the machine disturb it little. Every other
    round runs backwards, so that a drift favours nobody.
    """
    found: Times = {name: [] for name in candidates}
    for round_ in range(rounds + 1):
        turn = list(candidates.items())
        for name, call in turn if round_ % 2 else reversed(turn):
            start = time.process_time()
            call()
            if round_:
                found[name].append(time.process_time() - start)
    return found


def told(what: str, slow: list[float], fast: list[float], exactness: str = "") -> float:
    """Print how many times faster, median, lowest and highest of the rounds; return the median."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    print(
        f"{what}: {median(ratios):.3g} times ({min(ratios):.3g} to {max(ratios):.3g}); "
        f"{median(slow):.3g} s against {median(fast):.3g} s{'; ' + exactness if exactness else ''}",
        flush=True,
    )
    return median(ratios)
