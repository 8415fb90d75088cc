"""Runs that are killed or interrupted end as if nothing had happened, byte for byte."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import children
import pytest
from killable_runs import CASES, Campaign, Case, outcome, require_nothing_left

from omnibench.store import Store

KILLED = ("cls-full", "cls-lora", "seg", "caption", "linear")


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    campaign = Campaign(CASES[name], tmp_path, seed=0)
    campaign.kill(8)
    assert campaign.hits >= 8 and campaign.rounds


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", KILLED)
def test_fifty_kills_of_each_task_change_no_byte(name: str, tmp_path: Path) -> None:
    campaign = Campaign(CASES[name], tmp_path, seed=1)
    campaign.kill(50)
    assert campaign.hits >= 50
    print(f"{name}: {campaign.hits} kills in {campaign.rounds} runs of {campaign.seconds:.2g} s")


class Signalling:
    """A `Progress` that sends its own process a signal in a chosen seed and epoch."""

    def __init__(self, signum: int, seed: int, epoch: int) -> None:
        self.signum, self.seed, self.epoch = signum, seed, epoch
        self.training = ""

    def start(self, label: str, total: int) -> None:
        self.training = label

    def advance(self, steps: int = 1, note: str = "") -> None:
        if self.training == f"training, seed {self.seed}" and f"epoch {self.epoch}/" in note:
            os.kill(os.getpid(), self.signum)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, object]:
    """Three seeds of head-only tuning, and what they find."""
    case, folder = CASES["cls-head"], tmp_path_factory.mktemp("undisturbed")
    case.run(folder)
    return case, outcome(folder / "results")


@pytest.mark.parametrize(
    ("signum", "seed", "epoch"),
    list(itertools.product((signal.SIGINT, signal.SIGTERM), (0, 1, 2), (1, 4))),
)
def test_an_interrupted_run_says_so_keeps_earlier_seeds_and_goes_on(
    undisturbed, tmp_path, signum, seed, epoch
) -> None:
    case, expected = undisturbed

    def interrupted() -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
        try:
            case.run(tmp_path, Signalling(signum, seed, epoch))
        except KeyboardInterrupt:
            os._exit(130)

    assert children.join(children.start(interrupted)) == 130
    store = Store(tmp_path / "results")
    found = sorted((r.seed, r.status) for r in map(store.read, store.paths()))
    assert found == [*((s, "complete") for s in range(seed)), (seed, "interrupted")]
    assert list((tmp_path / "results" / "claims").glob("*.json")) == []
    times = {path: path.stat().st_mtime_ns for path in store.paths()}

    records = case.run(tmp_path)
    assert outcome(tmp_path / "results") == expected
    assert {path: path.stat().st_mtime_ns for path in times} == times
    resumed = [[at["epoch"] for at in r.timing["resumed"]] for r in records]
    assert resumed == [[epoch - 1] if r.seed == seed and epoch > 1 else [] for r in records]
    require_nothing_left(tmp_path / "results")
