"""The audit of printed summaries, applied to every published accuracy whose cases are known."""

from __future__ import annotations

from dataclasses import dataclass

from omnibench.registry import Registry
from omnibench_leaderboard.audit import RUN_COUNTS, audit_accuracy

# Test cases; on larger sets the lattice of accuracies is finer than the printed digits, and every
# run count is possible.
LARGEST = 1000


@dataclass(frozen=True, kw_only=True)
class Audited:
    """One printed mean ± SD, and the run counts that can have produced it."""

    source: str
    encoder: str
    dataset: str
    tuning: str
    mean: float
    sd: float
    cases: int
    possible: tuple[int, ...]

    @property
    def verdict(self) -> str:
        """What the digits allow, in words; no statement about why."""
        return said(self.possible)


def said(possible: tuple[int, ...]) -> str:
    """Say which of the run counts that were tried explain printed digits."""
    if not possible:
        return f"no run count from {RUN_COUNTS[0]} to {RUN_COUNTS[-1]} gives these digits"
    return f"possible with {', '.join(map(str, possible))} runs"


def audit(registry: Registry) -> list[Audited]:
    """Audit every published accuracy with an SD on a small dataset of known size."""
    sizes = {
        offer.card.name: offer.card.split_sizes[2]
        for offer in registry.datasets
        if offer.card.split_sizes is not None
    }
    rows = []
    for offer in registry.published():
        value = offer.card
        cases = sizes.get(value.dataset, LARGEST + 1)
        if value.metric == "accuracy" and value.sd is not None and cases <= LARGEST:
            rows.append(
                Audited(
                    source=value.source,
                    encoder=value.encoder,
                    dataset=value.dataset,
                    tuning=value.tuning,
                    mean=value.value,
                    sd=value.sd,
                    cases=cases,
                    possible=audit_accuracy(value.value, value.sd, cases).possible,
                )
            )
    return rows
