"""The whole look: what takes long begins first and is waited for last."""

from __future__ import annotations

from collections.abc import Iterator

from omnibench.doctor import folders, machine, software, supplies
from omnibench.doctor.findings import Finding, Place


def examine(place: Place) -> Iterator[Finding]:
    """Yield findings; imports neither torch nor numpy into this process."""
    torch, wordnet = machine.Probe("torch"), machine.Probe("wordnet")
    hub = supplies.HubProbe(place)
    yield from software.findings(place)
    yield machine.memory()
    yield from folders.findings(place)
    yield from supplies.findings(place)
    yield hub.finding()
    yield machine.wordnet(wordnet)
    yield from machine.torch(torch)
