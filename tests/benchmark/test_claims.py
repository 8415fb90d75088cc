"""Several commands at one cell: each seed is run once, and nobody waits for the dead."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import children
import pytest
from toy_requests import toy_request

from omnibench import claims, harness
from omnibench.cells import RunRequest
from omnibench.claims import Claims
from omnibench.harness import execute
from omnibench.planning import plan
from omnibench.store import Store

RUN_ID = "ab" * 32
SLOWNESS = 0.4  # seconds that a seed takes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our own clock, which nobody can set."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(claims.time, "monotonic", lambda: found.now)
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def held(folder: Path) -> Any:
    return json.loads((folder / "claims" / f"{RUN_ID}.json").read_text())


def hold(folder: Path, **changes: Any) -> None:
    """Leave a claim as another process would, changed."""
    file = folder / "claims" / f"{RUN_ID}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**claims._process(), "started": "t", "heartbeat": "t"} | changes))


def test_what_one_has_claimed_another_leaves_until_it_is_released(tmp_path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take(RUN_ID, "a seed") and not other.take(RUN_ID, "a seed")
    assert held(tmp_path)["title"] == "a seed" and held(tmp_path)["pid"] == os.getpid()
    assert f"process {os.getpid()} on" in other.holder(RUN_ID)
    other.release(RUN_ID)
    assert held(tmp_path), "what is not one's own is not released"
    one.close()
    assert other.take(RUN_ID, "a seed")
    other.close()
    assert [p.name for p in (tmp_path / "claims").iterdir()] == [".lock"]


def test_a_claim_shows_now_and_then_that_its_process_lives(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    one = Claims(tmp_path)
    one.take(RUN_ID, "a seed")
    first = held(tmp_path)
    deadline = time.monotonic() + 20
    while held(tmp_path)["heartbeat"] == first["heartbeat"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {k for k, v in held(tmp_path).items() if first[k] != v} == {"heartbeat"}
    one.close()


def test_a_claim_whose_process_was_killed_is_taken_over_at_once(tmp_path, caplog) -> None:
    def claim_and_end() -> None:
        Claims(tmp_path).take(RUN_ID, "a seed")
        os.kill(os.getpid(), signal.SIGKILL)

    caplog.set_level(logging.INFO)
    children.join(children.start(claim_and_end))
    assert Claims(tmp_path).take(RUN_ID, "a seed")
    assert "a seed was left by a process that is gone" in caplog.text


def test_a_dead_process_that_nobody_has_waited_for_holds_nothing(tmp_path) -> None:
    pid = children.start(lambda: Claims(tmp_path).take(RUN_ID, "a seed"))
    deadline = time.monotonic() + 20
    while claims._birth(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert Claims(tmp_path).take(RUN_ID, "a seed"), "although its id is still there"
    children.join(pid)


def test_a_living_process_with_the_id_of_a_dead_one_holds_nothing(tmp_path) -> None:
    hold(tmp_path, process="another boot 123")
    assert Claims(tmp_path).take(RUN_ID, "a seed")


def test_a_claim_of_another_host_is_stale_after_ten_minutes_of_our_clock(tmp_path, clock) -> None:
    hold(tmp_path, host="elsewhere")
    mine = Claims(tmp_path)
    for passed in (0, 300, 299):
        clock.now += passed
        assert not mine.take(RUN_ID, "a seed")
    clock.now += 2
    assert mine.take(RUN_ID, "a seed")
    mine.close()


@pytest.mark.parametrize("beat", ["1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_a_changed_heartbeat_is_alive_whatever_time_it_tells(tmp_path, clock, beat) -> None:
    hold(tmp_path, host="elsewhere")
    mine = Claims(tmp_path)
    assert not mine.take(RUN_ID, "a seed")
    clock.now += 599
    hold(tmp_path, host="elsewhere", heartbeat=beat)  # its clock was set
    assert not mine.take(RUN_ID, "a seed")
    clock.now += 599
    assert not mine.take(RUN_ID, "a seed")
    clock.now += 2
    assert mine.take(RUN_ID, "a seed")
    mine.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"pid": "x"}', b'{"pid": -1}'])
def test_a_claim_that_says_nothing_is_given_ten_minutes_too(tmp_path, clock, content) -> None:
    hold(tmp_path)
    (tmp_path / "claims" / f"{RUN_ID}.json").write_bytes(content)
    mine = Claims(tmp_path)
    assert not mine.take(RUN_ID, "a seed")
    clock.now += 601
    assert mine.take(RUN_ID, "a seed")
    mine.close()


def test_a_process_that_was_overtaken_leaves_the_new_claim_alone(tmp_path, clock) -> None:
    asleep, awake = Claims(tmp_path), Claims(tmp_path)
    asleep.take(RUN_ID, "a seed")
    assert not awake.take(RUN_ID, "a seed")
    clock.now += 601
    assert awake.take(RUN_ID, "a seed")
    theirs = held(tmp_path)
    asleep.close()
    assert held(tmp_path) == theirs
    awake.close()


def test_of_many_that_find_a_stale_claim_one_takes_it(tmp_path) -> None:
    def race(told: Path) -> None:
        won = Claims(tmp_path).take(RUN_ID, "a seed")
        with told.open("a") as file:
            file.write(f"{won}\n")
        wait_for(lambda: len(told.read_text().split()) == 6)  # a claim ends with its process

    for round_ in range(5):
        hold(tmp_path, process="another boot 123")
        told = tmp_path / f"round {round_}"
        for pid in [children.start(partial(race, told)) for _ in range(6)]:
            assert children.join(pid) == 0
        assert sorted(told.read_text().split()) == ["False"] * 5 + ["True"]


def test_where_claims_cannot_be_kept_everybody_computes_and_is_told_once(tmp_path, caplog) -> None:
    (tmp_path / "claims").write_text("a file where a folder should be")
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take(RUN_ID, "a seed") and one.take("cd" * 32, "another")
    assert caplog.text.count("cannot be used") == 1
    assert other.take(RUN_ID, "a seed")
    one.close()


# ---- commands at one cell ------------------------------------------------------------


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return toy_request(tmp_path)


@pytest.fixture
def command(
    request_: RunRequest, toy_registry: Any, toy: Any, tmp_path: Path, monkeypatch: Any
) -> Callable[..., int]:
    """Starts `execute` in a child; every seed takes a while and is written down when it begins."""
    original = type(toy.task).run

    def slow(self: Any, handle: Any, dataset: Any, recipe: Any, context: Any) -> Any:
        with (tmp_path / "begun").open("a") as file:
            file.write(f"{context.seed}\n")
        time.sleep(SLOWNESS)
        yield from original(self, handle, dataset, recipe, context)

    monkeypatch.setattr(type(toy.task), "run", slow)
    monkeypatch.setattr(harness, "WAITING_SECONDS", 0.05)

    def start(name: str = "one", request: RunRequest = request_) -> int:
        def work() -> None:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                found = list(execute(plan(request, toy_registry), request))
            except KeyboardInterrupt:
                os._exit(130)
            (tmp_path / name).write_text("\n".join(sorted(str(path) for *_, path in found)))

        return children.start(work)

    return start


def begun(tmp_path: Path) -> list[int]:
    file = tmp_path / "begun"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_six_commands_at_one_cell_run_each_seed_once_and_agree(command, request_, tmp_path) -> None:
    for pid in [command(f"table{n}") for n in range(6)]:
        assert children.join(pid) == 0
    assert sorted(begun(tmp_path)) == [0, 1, 2]
    paths = sorted(map(str, Store(request_.results).paths()))
    assert len(paths) == 3
    assert all((tmp_path / f"table{n}").read_text().split() == paths for n in range(6))
    assert [p.name for p in (request_.results / "claims").iterdir()] == [".lock"]


def test_without_claims_six_commands_still_end_with_one_table(command, request_, tmp_path) -> None:
    request_.results.mkdir()
    (request_.results / "claims").write_text("")
    for pid in [command(f"table{n}") for n in range(6)]:
        assert children.join(pid) == 0
    store = Store(request_.results)
    found = [store.read(path) for path in store.paths()]
    assert {r.seed for r in found} == {0, 1, 2}
    assert len({(r.seed, repr(r.metrics), r.predictions["sha256"]) for r in found}) == 3


def test_one_waits_for_another_and_takes_over_when_it_is_killed(
    command, request_, tmp_path
) -> None:
    one_seed = dataclasses.replace(request_, seeds=(0,))
    first = command("one", one_seed)
    wait_for(lambda: begun(tmp_path) == [0])
    second = command("two", one_seed)
    assert children.kill_after(0.2, first)
    assert children.join(second) == 0
    assert begun(tmp_path) == [0, 0] and len(list(Store(request_.results).paths())) == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_can_be_stopped_and_leaves_nothing(command, request_, tmp_path, signum) -> None:
    one_seed = dataclasses.replace(request_, seeds=(0,))
    first = command("one", one_seed)
    wait_for(lambda: begun(tmp_path) == [0])
    second = command("two", one_seed)
    time.sleep(0.2)
    os.kill(second, signum)
    assert children.join(second) == 130
    assert children.join(first) == 0
    (path,) = Store(request_.results).paths()
    assert Store(request_.results).read(path).status == "complete"


def test_a_claim_that_a_killed_process_left_on_a_finished_seed_is_cleared(
    command, request_, tmp_path
) -> None:
    assert children.join(command()) == 0
    first = next(iter(Store(request_.results).paths()))
    left = request_.results / "claims" / f"{first.parent.name}.json"
    hold(request_.results, process="another boot 123")
    (request_.results / "claims" / f"{RUN_ID}.json").rename(left)
    assert children.join(command()) == 0
    assert not left.exists() and len(begun(tmp_path)) == 3
