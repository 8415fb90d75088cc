from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def command(tmp_path: Path, toy_file: Path):
    """Run the command line in a process of its own, with the toy plugin as a file."""

    def call(*arguments: str, toy: bool = True) -> subprocess.CompletedProcess[str]:
        extra = ["--plugin", str(toy_file)] if toy else []
        return subprocess.run(
            [sys.executable, "-m", "omnibench", *arguments, *extra],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            check=False,
        )

    return call


RUN = ("run", "--encoder", "toy-encoder", "--random-weights", "--task", "toy")


def test_run_ends_with_mean_and_sd_and_the_same_again_is_instant(command):
    done = command(*RUN, "--dataset", "toy-labels")
    assert done.returncode == 0, done.stderr
    assert "mean ± sd over 3 seeds" in done.stdout and "accuracy" in done.stdout
    assert "note: random weights" in done.stdout
    again = command(*RUN, "--dataset", "toy-labels")
    assert again.stdout == done.stdout


def test_json_goes_to_stdout_and_nothing_else_does(command):
    done = command(*RUN, "--dataset", "toy-labels", "--json")
    (cell,) = json.loads(done.stdout)
    assert cell["metrics"]["accuracy"]["n"] == 3 and cell["seeds"] == [0, 1, 2]
    assert len(cell["records"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((*RUN, "--dataset", "toy-lables"), 2, "Did you mean toy-labels"),
        ((*RUN, "--dataset", "toy-masks"), 2, "it has masks, not labels"),
        ((*RUN, "--dataset", "toy-labels", "--set", "lrr=1"), 2, "Did you mean lr?"),
        ((*RUN, "--dataset", "toy-labels", "--set", "lr"), 2, "field=value"),
        ((*RUN, "--dataset", "toy-labels", "--seeds", "0"), 2, "seeds"),
        ((*RUN, "--dataset", "toy-labels", "--results", "/proc/none"), 5, "--results DIR"),
        ((*RUN, "--dataset", "toy-labels", "--device", "cuda:9"), 5, "--device cpu"),
        ((*RUN, "--dataset", "toy-labels", "--precision", "fp16"), 2, "fp32 or bf16"),
        ((*RUN, "--dataset", "toy-labels", "--set", "fail_seed=1"), 1, "loss became nan"),
        ((*RUN, "--dataset", "toy-labels", "--set", "stop_seed=1"), 130, "1 of 3 runs are on"),
    ],
)
def test_wrong_input_gives_one_message_and_its_exit_code(command, arguments, code, message):
    done = command(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said_without_a_traceback(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "omnibench", "list", "tasks"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 5
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


def test_missing_results_are_said_by_score(command):
    done = command("score", "nowhere")
    assert done.returncode == 5 and "holds no records" in done.stderr


def test_score_exits_with_four_on_a_changed_record(command, tmp_path):
    command(*RUN, "--dataset", "toy-labels")
    assert command("score", "results").returncode == 0
    record = next((tmp_path / "results").glob("runs/*/*/*.json"))
    record.write_text(record.read_text().replace('"unit": "fraction"', '"unit": "score"'))
    done = command("score", "results")
    assert done.returncode == 4 and "was changed after" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--help",), ("list",), ("run", "--help"), ("list", "tasks")]
)
def test_help_and_list_never_import_torch(tmp_path, arguments):
    program = (
        "import sys\n"
        "from omnibench.cli import main\n"
        f"sys.argv = ['omnibench', *{list(arguments)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'timm', 'transformers', 'pandas', 'matplotlib', 'sklearn'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "HEAVY []" in done.stdout, done.stdout[-300:] + done.stderr[-2000:]


def test_list_shows_every_kind_as_tables_and_as_json(command):
    done = command("list", toy=False)
    for name in ("encoders", "tasks", "datasets", "plugins"):
        assert name in done.stdout
    tables = json.loads(command("list", "--json", toy=False).stdout)
    assert {row["plugin"] for row in tables["plugins"]} >= {"omnibench:encoders"}


def test_score_never_imports_torch(tmp_path):
    program = (
        "import sys, json, numpy as np\n"
        "from pathlib import Path\n"
        "from omnibench.records import RunRecord\n"
        "from omnibench.registry import Registry\n"
        "from omnibench.rescoring import rescore\n"
        "from omnibench.store import Store\n"
        "registry = Registry.discover()\n"
        "task = registry.task('seg').card\n"
        "counts = np.tile(np.array([[9, 1, 2, 4], [4, 2, 1, 9]]), (3, 1, 1))\n"
        "arrays = {f'{s}_counts@4': counts for s in ('test', 'val')}\n"
        "arrays |= {f'{s}_id': np.arange(3) for s in ('test', 'val')}\n"
        "metrics = {m.id: {'value': m.value, 'unit': m.unit,\n"
        "                  'higher_is_better': m.higher_is_better}\n"
        "           for m in task.score(arrays)}\n"
        "identity = {'task': {'name': 'seg', 'plugin': 'omnibench', 'version': task.version,\n"
        "                     'recipe': 'paper', 'variant': ''}, 'encoder': {'name': 'e'},\n"
        "            'dataset': {'name': 'd', 'limit': 0}, 'tuning': 'frozen', 'seed': 0}\n"
        "store = Store(Path('seg-results'))\n"
        "store.save(RunRecord(identity=identity, status='complete', label='x', metrics=metrics,\n"
        "                     validation=metrics, predictions=Store.prepare(arrays)), arrays)\n"
        "(line,) = rescore(Path('seg-results'), registry)\n"
        "assert line.exit_code == 0, line.verdict\n"
        "print('HEAVY', sorted({'torch', 'timm', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "HEAVY []" in done.stdout, done.stderr


def test_a_plugins_command_ends_with_the_exit_code_that_it_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import click

    from omnibench import cli

    @click.command()
    @click.pass_context
    def leave(context: click.Context) -> None:
        context.exit(6)

    monkeypatch.setattr(cli, "cli", leave)
    monkeypatch.setattr(sys, "argv", ["omnibench"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 6
