"""A small version of `tests/performance/audit_recall.py`: planted copies of real images."""

from __future__ import annotations

import pytest

from omnibench.audit import audit
from omnibench.cards import DataAccess
from omnibench.registry import Registry

SEED = 3


def judged(recall, test_data, name, changes, copies, limit):
    reference, size, settings = recall.SETS[name]
    card = Registry.discover().dataset(reference.format(data=test_data / "data")).card
    access = DataAccess(
        root=test_data / "data", allow_unverified=True, source_size=size, options=settings
    )
    planted = recall.Planted(card.open(access), changes, copies, SEED, limit)
    found, unplanned, _ = recall.judged(planted, audit(planted))
    return found, 100 * unplanned / planted.test_images


@pytest.mark.parametrize("name", ["busi 128 px", "hannover_cxr"])
def test_planted_copies_of_128_pixels_and_more_are_found_and_others_are_not(
    recall, test_data, name
):
    found, unplanned = judged(recall, test_data, name, tuple(recall.CHANGES), 8, 60)
    exact = [found[change] for change in recall.EXACT]
    assert min(exact) == 1, found
    changed = [share for change, share in found.items() if change not in recall.EXACT]
    assert sum(changed) / len(changed) >= 0.9, found
    assert unplanned < 1


def test_equal_and_turned_copies_are_found_at_28_pixels(recall, test_data):
    found, unplanned = judged(recall, test_data, "pneumoniamnist 28 px", recall.EXACT, 25, 400)
    assert min(found.values()) == 1 and unplanned == 0
