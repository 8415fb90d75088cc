"""A plan to reproduce a study: what is left, what is missing, and how long it takes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from made_up_study import absent, printed, registry

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.registry import Registry
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.reproduce import cost, grid
from omnibench_leaderboard.reproduce.measuring import Bench
from omnibench_leaderboard.reproduce.missing import Lack, Machine
from omnibench_leaderboard.reproduce.planning import plan
from omnibench_leaderboard.runs import Collection


def bench_of(known: Registry, folder: Path) -> Bench:
    return Bench(known, Cache(folder / "costs"), "cpu", "fp32", folder)


def test_runs_of_one_kind_are_measured_once_and_planned_by_what_was_found(
    tmp_path, monkeypatch, caplog
):
    values = [printed(80.0), printed(81.0, encoder="vit-b"), printed(3.0, tuning="head")]
    known = registry(*values)
    study, bench = grid.find(known, "paper-2026"), bench_of(known, tmp_path)
    jobs = study.jobs(known, None)
    commands = []

    def answer(command, **_):
        commands.append(command)
        parts = [
            {"stage": "once", "seconds_per_image": 1.0},
            {"stage": "training", "seconds_per_image": 0.5},
            {"stage": "evaluation", "seconds_per_image": 0.25},
            {"stage": "prediction", "seconds_per_image": 2.0},
            {"stage": "detail", "seconds_per_image": 99.0},
        ]
        fails = "head" in command
        return subprocess.CompletedProcess(command, fails, json.dumps({"parts": parts}))

    monkeypatch.setattr(subprocess, "run", answer)
    bench.measure(jobs)
    bench.measure(jobs[:2])  # known by now
    assert len(commands) == 2 and "not measured, exit code 1" in caplog.text
    full, also_full, head = jobs
    train, val, test = known.dataset("breastmnist").card.split_sizes
    epochs = known.task("cls").card.recipe("paper", "full").epochs
    seconds = train + val + test + 0.5 * 5 * epochs * train
    seconds += 0.25 * 5 * (epochs * val + val + test) + 2.0 * 5 * (val + test)
    assert bench.hours(full, 5) == pytest.approx(seconds / 3600)
    assert bench.hours(also_full, 5) == bench.hours(full, 5)
    assert bench.hours(head, 5) is None

    machine = Machine(known, tmp_path)
    made = plan(study, jobs, Collection(runs=()), known, machine, (1e12, "said"), bench)
    estimated = made.runs[2].flops_left / 1e12 / 3600
    assert made.hours == pytest.approx(2 * seconds / 3600 + estimated)


def test_a_kind_that_cannot_be_measured_is_left_to_the_estimate(tmp_path, caplog):
    known = registry(printed(80.0))  # whose encoder no process of its own knows
    study, bench = grid.find(known, "paper-2026"), bench_of(known, tmp_path)
    bench.measure(study.jobs(known, None))
    assert "not measured, exit code 2" in caplog.text
    assert bench.hours(study.jobs(known, None)[0], 5) is None


def test_a_plan_counts_what_is_left_and_names_what_is_missing(results, add, tmp_path):
    for seed in range(2):
        add("vit-a", seed)
    values = [printed(80.0), printed(81.0, encoder="vit-b"), printed(1.0, "vit-c", reason="no")]
    known = registry(*values)
    study = grid.find(known, "paper-2026")
    machine = Machine(known, tmp_path)
    made = plan(
        study,
        study.jobs(known, None),
        collect([results], known),
        known,
        machine,
        (1e12, "said"),
        bench_of(known, tmp_path),
    )
    assert [(run.done, run.left, run.job.seeds) for run in made.runs] == [
        (2, 3, 5),
        (0, 5, 5),
        (0, 0, 5),
    ]
    assert made.lacks == {
        Lack(kind="data", what="breastmnist", reason="the data are not here; download them"): 2
    }
    assert made.licences == {"breastmnist": "CC BY-NC 4.0, not for commercial use"}
    first, second, _ = made.runs
    assert first.flops_left == pytest.approx(3 / 5 * second.flops_left)
    assert made.flops == first.flops_left + second.flops_left
    assert made.hours == pytest.approx(made.flops / 1e12 / 3600)
    assert json.loads(json.dumps(made.as_json()))["runs_left"] == 8


def test_the_estimate_is_what_a_counter_of_operations_finds():
    # torch's FlopCounterMode on timm's models, 2026-11-22.
    for patch, size, counted in (
        (14, 224, 12_247_123_968),
        (14, 448, 63_356_553_216),
        (16, 224, 9_196_996_608),
        (16, 448, 45_157_533_696),
    ):
        card = EncoderSpec(name="s", build=print, embed_dim=384, patch_size=patch, depth=12)
        assert cost.encoder_flops(card, size) == pytest.approx(counted, rel=0.01)
    assert cost.encoder_flops(EncoderSpec(name="unknown", build=print), 224) is None


def test_training_the_encoder_costs_three_forward_passes_and_a_head_none():
    @dataclasses.dataclass(frozen=True)
    class Recipe:
        tuning: str = "full"
        image_size: int = 224
        epochs: int = 2

    card = EncoderSpec(name="s", build=print, embed_dim=384, patch_size=16, depth=12)
    data = DatasetSpec(name="d", kind="labels", open=absent, split_sizes=(100, 10, 20))
    forward = cost.encoder_flops(card, 224)
    assert cost.run_flops(card, data, Recipe(), 0) == forward * (2 * (300 + 10) + 20)
    assert cost.run_flops(card, data, Recipe("head"), 0) == forward * (2 * (100 + 10) + 20)
    with_task = cost.run_flops(card, data, Recipe("head"), forward)
    assert with_task == forward * (2 * (100 * 4 + 20) + 40)
    assert cost.throughput() > 1e8
