"""`omnibench reproduce` on synthetic records: one that matches, one that differs, and the rest."""

from __future__ import annotations

import dataclasses
import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnibench import hub
from omnibench.cards import DataAccess, DatasetSpec, EncoderSpec, PublishedValue
from omnibench.cli import cli
from omnibench.errors import INTERRUPTED, SetupError, UsageError
from omnibench.hookspecs import hookimpl
from omnibench.interfaces import Dataset
from omnibench.registry import Registry
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.reproduce import cost, grid
from omnibench_leaderboard.reproduce.filling import _run, fill
from omnibench_leaderboard.reproduce.judging import judge, of_cells
from omnibench_leaderboard.reproduce.measuring import Bench
from omnibench_leaderboard.reproduce.missing import Lack, Machine
from omnibench_leaderboard.reproduce.planning import plan
from omnibench_leaderboard.reproduce.verdict import Outcome
from omnibench_leaderboard.runs import Collection

CASES = 12_000  # so many that seeds differ by tenths of a point


def printed(value: float, encoder: str = "vit-a", **fields) -> PublishedValue:
    return PublishedValue(
        **{
            "source": "Paper, Table 3",
            "encoder": encoder,
            "task": "cls",
            "dataset": "breastmnist",
            "metric": "accuracy",
            "printed_metric": "accuracy",
            "value": value,
            "sd": 0.1,
            "tuning": "full",
            "study": "paper-2026",
            "table": 3,
            "runs": (5, 3),
            **fields,
        }
    )


def absent(access: DataAccess) -> Dataset:
    raise SetupError("the data are not here; download them")


class StudyPlugin:
    """Offers a made-up study, with an encoder and a dataset that can be planned."""

    __name__ = "study"

    def __init__(self, *values: PublishedValue) -> None:
        self.values = values

    @hookimpl
    def omnibench_published(self) -> tuple[PublishedValue, ...]:
        return self.values

    @hookimpl
    def omnibench_encoders(self) -> list[EncoderSpec]:
        shape = {"embed_dim": 384, "patch_size": 16, "depth": 12}
        return [EncoderSpec(name=name, build=print, **shape) for name in ("vit-a", "vit-b")]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        card = DatasetSpec(
            name="breastmnist",
            kind="labels",
            open=absent,
            classes=("malignant", "benign"),
            split_sizes=(546, 78, 156),
            commercial=False,
            licence="CC BY-NC 4.0",
        )
        return [card]


def registry(*values: PublishedValue) -> Registry:
    import omnibench_plugins.tasks

    return Registry.of(omnibench_plugins.tasks, StudyPlugin(*values))


@pytest.fixture
def own(results, add) -> float:
    """Five runs of `vit-a`; the mean accuracy in percent."""
    records = [add("vit-a", seed, cases=CASES) for seed in range(5)]
    return 100 * statistics.fmean(r.metrics["accuracy"]["value"] for r in records)


def verdicts(results: Path, *values: PublishedValue, failed=None):
    known = registry(*values)
    study = grid.find(known, "paper-2026")
    return judge(study, collect([results], known), known, failed or {})


def test_every_kind_of_verdict(results, own):
    rows = verdicts(
        results,
        printed(own),
        printed(own + 5),
        printed(own, sd=9.0),
        printed(own, recipes=("released",)),
        printed(own, encoder="vit-b"),
        printed(own, tuning="head"),
    )
    assert [row.outcome.value for row in rows] == [
        "matches",
        "differs",
        "undecided",
        "not comparable",
        "not run",
        "not run",
    ]
    assert rows[0].mean == pytest.approx(own) and rows[0].n == 5 and rows[0].margin == 0.5
    assert rows[3].reason == "it follows recipe released, this column paper"
    # The first four are numbers of one cell, which is what the gravest of them is.
    assert of_cells(rows) == {Outcome.DIFFERS: 1, Outcome.NOT_RUN: 2}


def test_runs_that_are_no_reproduction_are_not_compared(results, add):
    known = add("vit-a").identity
    untrained = {**known["encoder"], "name": "vit-b", "weights": "random"}
    add("vit-b", identity={**known, "encoder": untrained})
    add("vit-c", changes={"lr": "0.1"})
    add("vit-d", recipe="quick")
    names = ("vit-b", "vit-c", "vit-d")
    rows = verdicts(results, *(printed(80.0, encoder=name) for name in names))
    assert {row.outcome for row in rows} == {Outcome.NOT_COMPARABLE}
    assert [row.reason.split(",")[0] for row in rows] == [
        "its weights are random",
        "this column changed lr",
        "it follows recipe paper",
    ]


def test_a_printed_number_that_says_why_it_is_not_comparable_is_believed(results, own):
    (row,) = verdicts(results, printed(own, reason="another metric"))
    assert (row.outcome, row.reason) == (Outcome.NOT_COMPARABLE, "another metric")


def test_a_match_is_not_believed_where_runs_failed(results, add, own):
    add("vit-a", 5, failure={"kind": "nan_loss"}, status="failed", metrics={}, predictions=None)
    matching, differing = verdicts(results, printed(own), printed(own + 5))
    assert matching.outcome is Outcome.UNDECIDED and "failed runs: 1" in matching.reason
    assert differing.outcome is Outcome.DIFFERS


def test_one_run_and_a_number_without_sd(results, add, own):
    add("vit-b", 0, cases=CASES)
    single, value = verdicts(results, printed(80.0, encoder="vit-b"), printed(own + 20, sd=None))
    assert single.outcome is Outcome.UNDECIDED and "one run" in single.reason and single.sd is None
    assert value.outcome is Outcome.DIFFERS


def test_a_pooled_number_needs_runs_on_every_dataset(results, add):
    pool = printed(80.0, dataset="mean", pooled=("one", "two"), table=11, sd=9.0)
    feeds = [printed(80.0, dataset=name) for name in pool.pooled]
    means = []
    for seed in range(3):
        means.append(add("vit-a", seed, "one", CASES).metrics["accuracy"]["value"])
    add("vit-a", 0, "two", CASES)
    row = verdicts(results, *feeds, pool)[-1]
    assert row.outcome is Outcome.NOT_RUN and "two lack them" in row.reason
    means += [add("vit-a", s, "two", CASES).metrics["accuracy"]["value"] for s in (1, 2)]
    known = registry(*feeds, dataclasses.replace(pool, value=round(100 * 0.9, 2)))
    (row,) = judge(grid.find(known, "paper-2026", [11]), collect([results], known), known, {})
    assert row.n == 6 and row.mean is not None and row.sd is not None
    assert row.outcome is Outcome.DIFFERS


def test_printed_sizes_of_splits_are_held_against_the_card(results, add):
    add()
    size = {"task": "", "encoder": "", "metric": "", "tuning": "", "sd": None}
    rows = verdicts(
        results,
        printed(546, printed_metric="train", **size),
        printed(155, printed_metric="test", **size),
        printed(1, printed_metric="test", dataset="elsewhere", **size),
    )
    assert [row.outcome.value for row in rows] == ["matches", "differs", "not comparable"]
    assert not of_cells(rows)


def test_why_a_run_failed_is_said_beside_its_numbers(results, add):
    add()
    value = printed(80.0, encoder="vit-b")
    (row,) = verdicts(results, value, failed={grid.key_of(value): "no weights"})
    assert (row.outcome, row.reason) == (Outcome.NOT_RUN, "no weights")


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


def test_unknown_names_are_answered_with_what_there_is():
    known = registry(printed(80.0))
    with pytest.raises(UsageError, match="Did you mean paper-2026"):
        grid.find(known, "paper-2025")
    with pytest.raises(UsageError, match="no numbers in table 4; it has tables 3"):
        grid.find(known, "paper-2026", [4])
    with pytest.raises(UsageError, match="no plugin brings one"):
        grid.find(registry(), "paper-2026")


def test_what_is_known_to_be_missing_is_not_started(tmp_path):
    known = registry(printed(80.0))
    study = grid.find(known, "paper-2026")
    jobs = study.jobs(known, 2)
    assert jobs[0].arguments[-4:] == ["--tuning", "full", "--seeds", "2"]
    failed, worst = fill(jobs, ["--no-such-option"], Machine(known, tmp_path).lacks)
    assert worst == SetupError.exit_code
    assert failed == {jobs[0].cells[0].key: "the data are not here; download them"}


def test_an_interrupted_run_interrupts_and_a_killed_one_has_failed():
    with pytest.raises(KeyboardInterrupt):
        _run([sys.executable, "-c", f"raise SystemExit({INTERRUPTED})"])
    assert _run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 1


def test_a_run_ends_with_the_process_that_waits_for_it(tmp_path):
    told = tmp_path / "told"
    child = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(told)!r}).touch(), sys.exit()))\n"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\n"
        "time.sleep(60)\n"
    )

    def when_up(signum, frame):
        if (tmp_path / "up").exists():
            raise SystemExit(INTERRUPTED)

    before = signal.signal(signal.SIGALRM, when_up)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(SystemExit):
            _run([sys.executable, "-c", child])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert told.exists()


def test_contradicting_options_are_refused(tmp_path):
    for options, message in (
        (["--plan", "--verdicts"], "exclude each other"),
        (["--tflops", "3"], "add --plan"),
        (["--measure"], "add --plan"),
        (["--plan", "--measure", "--tflops", "3"], "exclude each other"),
        (["--verdicts", "--results", str(tmp_path / "none")], "is not a folder"),
    ):
        done = CliRunner().invoke(cli, ["reproduce", "omnirad-2026", *options])
        assert message in str(done.exception)


def test_the_paper_offline_and_without_weights_is_told_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "cached", lambda *names: None)
    where = ["--results", str(tmp_path / "results"), "--data-root", str(tmp_path)]
    command = ["reproduce", "omnirad-2026", "--table", "12", "--offline", "--json", *where]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == SetupError.exit_code
    told = json.loads(done.stdout)
    assert told["cells"] == {"not comparable": 4, "not run": 16}
    reasons = {row["reason"] for row in told["numbers"] if row["outcome"] == "not run"}
    assert all("rocov2 lacks" in reason and "hub's cache" in reason for reason in reasons)
    assert not (tmp_path / "results").exists()


STUDY_FILE = """
from omnibench import PublishedValue

@hookimpl
def omnibench_published():
    return [PublishedValue(source="Toy, Table 1", encoder="toy-encoder", task="toy",
        dataset="toy-labels", metric="accuracy", printed_metric="accuracy", value=99.0, sd=0.5,
        study="toy-study", table=1, runs=(5,))]
"""


def test_a_study_is_filled_by_the_ordinary_command_and_nothing_is_run_twice(toy_file, tmp_path):
    text = toy_file.read_text().replace(
        "import sys\n", "import sys\nfrom omnibench import hookimpl\n", 1
    )
    toy_file.write_text(text + STUDY_FILE)
    command = [sys.executable, "-m", "omnibench", "reproduce", "toy-study", "--json"]
    command += ["--plugin", str(toy_file), "--results", str(tmp_path / "results")]
    command += ["--cache", str(tmp_path / "cache"), "--device", "cpu"]
    first = subprocess.run(command, check=False, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    (row,) = json.loads(first.stdout)["numbers"]
    assert row["n"] == 3 and row["outcome"] in ("matches", "differs", "undecided")
    assert "1 of 1: omnibench run --encoder toy-encoder" in first.stderr
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.stdout == first.stdout and "omnibench run" not in again.stderr


def test_help_and_plans_need_no_torch(tmp_path):
    program = (
        "import sys; from omnibench.cli import cli; "
        f"cli(['reproduce', 'omnirad-2026', '--table', '8', '--plan', '--data-root', {str(tmp_path)!r},"
        f" '--results', {str(tmp_path)!r}], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stdout.endswith("False\n"), done.stderr
    assert "omnirad-base · cls · organsmnist · lora-r16" in done.stdout
    assert "20 cells, 100 runs left" in done.stdout
