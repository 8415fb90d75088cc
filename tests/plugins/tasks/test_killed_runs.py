"""Runs killed with SIGKILL at random times end as if nothing had happened, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from killable_runs import CASES, Campaign


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    campaign = Campaign(CASES[name], tmp_path, seed=0)
    campaign.kill(8)
    assert campaign.hits >= 8
    print(name, campaign.hits, campaign.rounds, campaign.seconds)
