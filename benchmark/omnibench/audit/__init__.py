"""Look through a dataset: images that occur twice, torn groups, odd targets, odd images."""

from omnibench.audit.auditing import audit, leaks
from omnibench.audit.findings import Case, Findings, Pair, SplitFacts, TornGroup

__all__ = ["Case", "Findings", "Pair", "SplitFacts", "TornGroup", "audit", "leaks"]
