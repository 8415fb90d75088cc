"""`omnibench reproduce`: its options, its answers to unknown names, and what it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from made_up_study import printed, registry

from omnibench import hub
from omnibench.cli import cli
from omnibench.errors import SetupError, UsageError
from omnibench_leaderboard.reproduce import grid


def test_unknown_names_are_answered_with_what_there_is():
    known = registry(printed(80.0))
    with pytest.raises(UsageError, match="Did you mean paper-2026"):
        grid.find(known, "paper-2025")
    with pytest.raises(UsageError, match="no numbers in table 4; it has tables 3"):
        grid.find(known, "paper-2026", [4])
    with pytest.raises(UsageError, match="no plugin brings one"):
        grid.find(registry(), "paper-2026")


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
