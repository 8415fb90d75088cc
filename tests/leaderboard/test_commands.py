"""The commands: what they print, how they end, what they import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from omnibench import console
from omnibench.cli import cli
from omnibench.commands.run import _comparison
from omnibench.errors import UsageError
from omnibench_leaderboard import paper_mode, terminal
from omnibench_leaderboard.build import build
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.compare import compare
from omnibench_leaderboard.formatting import p_value
from omnibench_leaderboard.stats.ttests import Summary

# statistics.md 1.6, fixtures A and B.
A = [0.8912, 0.8950, 0.8874, 0.8931, 0.8903]
B = [0.8845, 0.8901, 0.8850, 0.8862, 0.8871]


@pytest.fixture
def two(add):
    """Five seeds of a weak and a strong encoder on two datasets, and one seed of a third."""
    for dataset in ("breastmnist", "organ-x"):
        for seed in range(5):
            add("vit-a", seed, dataset, cases=60, skill=-2.0)
            add("vit-b", seed, dataset, cases=60, skill=6.0)
    add("vit-c", 0, "breastmnist", cases=60)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omnibench", "leaderboard", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def report(results, tasks, *encoders, **options):
    return compare(collect([results], tasks), tasks, encoders[:-1], encoders[-1], **options)


def test_help_imports_neither_torch_nor_pandas_nor_numpy():
    program = (
        "import sys; from omnibench.cli import cli\n"
        "for words in (['leaderboard', '--help'], ['verify', '--help']):\n"
        "    cli(words, standalone_mode=False)\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")


def test_building_a_board_never_imports_torch(results, two):
    program = (
        "import sys; from omnibench.cli import cli\n"
        f"cli(['leaderboard', 'show', {str(results)!r}], standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("False")
    assert "cls · breastmnist · recipe paper · full" in done.stdout


def test_comparing_two_encoders_corrects_over_the_datasets(results, two, tasks):
    found = report(results, tasks, "vit-b", "vit-a")
    assert [row.setting.dataset for row in found.rows] == ["breastmnist", "organ-x"]
    assert {row.comparison.family for row in found.rows} == {2}
    assert {row.comparison.verdict for row in found.rows} == {"better"}
    assert all(row.comparison.p_adjusted >= row.comparison.p for row in found.rows)
    assert all(row.comparison.detectable > 0 for row in found.rows)
    (across,) = found.across
    assert (across.wins, across.losses, across.verdict) == (2, 0, "not testable")


def test_swapping_two_encoders_turns_every_sign(results, two, tasks):
    one, other = report(results, tasks, "vit-b", "vit-a"), report(results, tasks, "vit-a", "vit-b")
    for row, turned in zip(one.rows, other.rows, strict=True):
        assert row.comparison.difference == pytest.approx(-turned.comparison.difference)
        assert row.comparison.p == pytest.approx(turned.comparison.p)
        assert turned.comparison.verdict == "worse"


def test_a_wide_margin_makes_equal_encoders_equivalent(results, add, tasks):
    for seed in range(5):
        add("vit-a", seed, cases=200), add("vit-b", seed, cases=200)
    narrow = report(results, tasks, "vit-a", "vit-b").rows[0].comparison
    wide = report(results, tasks, "vit-a", "vit-b", margin=20.0).rows[0].comparison
    assert narrow.verdict == "not separated" and wide.verdict == "equivalent"
    assert wide.within_margin and not narrow.within_margin


def test_paper_mode_gives_the_golden_p_values():
    # G3 and G5 of statistics.md 1.6.
    student, welch = paper_mode.two_sample(A, B, "b", True)
    assert student.p == pytest.approx(0.01791131665, abs=1e-10)
    assert welch.p == pytest.approx(0.01923486531, abs=1e-10)
    assert welch.interval == pytest.approx((0.001032767, 0.008607233), abs=1e-9)
    assert student.effect == pytest.approx(1.694792091, abs=1e-9)  # G7
    one_sample, single = paper_mode.against_value(Summary.of(A), 0.885, "b", True)
    assert one_sample.p == pytest.approx(0.00762510659, abs=1e-10)
    assert single.p == pytest.approx(0.112088, abs=1e-6)
    assert (one_sample.verdict, single.verdict) == ("better", "not separated")


def test_paper_mode_of_constant_runs_is_not_testable_and_has_no_p():
    rows = paper_mode.two_sample([0.9] * 5, [0.8] * 5, "b", True)
    assert {(row.p, row.verdict, row.flags) for row in rows} == {
        (None, "not testable", ("ZERO_VAR",))
    }


def test_paper_mode_corrects_nothing(results, two, tasks):
    found = report(results, tasks, "vit-b", "vit-a", stats="paper")
    assert [row.comparison.method for row in found.rows] == ["student", "welch"] * 2
    assert {row.comparison.p_adjusted for row in found.rows} == {None}


def test_encoders_without_a_common_setting_are_told_what_each_has(results, add, tasks):
    add("vit-a", 0, "breastmnist"), add("vit-b", 0, "organ-x")
    with pytest.raises(UsageError, match=r"vit-a has cls · breastmnist .*vit-b has cls · organ-x"):
        report(results, tasks, "vit-a", "vit-b")
    with pytest.raises(UsageError, match="compared with itself"):
        report(results, tasks, "vit-a", "vit-a")


def test_strict_ends_with_six_where_something_is_not_testable(results, two):
    good = command("compare", "vit-b", "vit-a", "--results", results, "--strict")
    assert good.returncode == 0 and "Holm over m = 2" in good.stdout
    bad = command("compare", "vit-c", "vit-a", "--results", results, "--strict", "--json")
    assert bad.returncode == 6
    assert json.loads(bad.stdout)["rows"][0]["comparison"]["verdict"] == "not testable"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["compare", "vit-a"], 2, "one encoder is no comparison"),
        (["compare", "vit-a", "vit-z", "--results", "{results}"], 2, "Did you mean"),
        (["compare", "vit-a", "vit-b", "--margin", "0"], 2, "--margin"),
        (["compare", "vit-a", "vit-b", "--stats", "paper", "--margin", "1"], 2, "know no margin"),
        (["show", "{results}/nowhere"], 5, "is not a folder"),
        (["show", "{results}", "--reference", "vit-z"], 2, "Did you mean"),
        (["audit-summary", "--mean", "91.8"], 2, "go together"),
        (["audit-summary", "--mean", "191", "--sd", "1", "--cases", "9"], 2, "mean in [0, 100]"),
    ],
)
def test_wrong_input_gets_one_message_and_an_exit_code(results, add, words, code, told):
    add("vit-a", 0), add("vit-b", 0)
    done = command(*(word.format(results=results) for word in words))
    assert done.returncode == code and told in done.stderr and "Traceback" not in done.stderr


def test_a_printed_accuracy_is_audited():
    # G20 of statistics.md 1.6.
    done = command("audit-summary", "--mean", 91.83, "--sd", 0.32, "--cases", 156, "--json")
    assert json.loads(done.stdout)["possible"] == [4]
    tables = command("audit-summary", "--json")
    rows = json.loads(tables.stdout)
    small = [r for r in rows if (r["encoder"], r["dataset"]) == ("omnirad-small", "breastmnist")]
    assert [r["possible"] for r in small if r["source"] == "OmniRad, Table 3"] == [[4]]


HOSTILE = "evil\x1b[2J\x1b]8;;http://x\x07[link=http://x]a[/]b\u202e</script>=cmd|\\input{x}"


def test_hostile_names_are_inert_on_the_terminal_and_whole_in_the_board(
    results, add, tasks, capsys
):
    add("vit-a", 0, label=HOSTILE), add("vit-b", 0)
    board = build(collect([results], tasks), tasks)
    assert HOSTILE in {encoder.label for encoder in board.encoders}
    terminal.print_board(board)
    printed = capsys.readouterr().out
    assert not console.CONTROL.search(printed) and "[link=http://x]a[/]b" in printed


def test_what_was_left_out_is_shown_with_the_tables(results, add, tasks, capsys):
    add("vit-a", 0), add("vit-b", 0), add("vit-c", 0, like=("vit-a", 0))
    terminal.print_board(build(collect([results], tasks), tasks))
    printed = capsys.readouterr().out
    assert "left out (2):" in printed and "equal predictions stand under vit-a" in printed


@pytest.mark.parametrize(
    ("p", "shown"), [(None, "–"), (0.5, "0.5"), (0.04156, "0.042"), (3e-7, "<1e-4"), (1.0, "1")]
)
def test_p_values_have_two_digits_and_a_floor(p, shown):
    assert p_value(p) == shown


class Cell:
    """What `omnibench run` knows of a finished cell."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.records = ("a.json",)


def test_a_run_ends_with_the_command_that_compares():
    with click.Context(cli):
        (one,) = _comparison([Cell("vit-a")], Path("my results"))
        (both,) = _comparison([Cell("vit-a"), Cell("vit-b"), Cell("vit-a")], Path("results"))
    assert one == "compare: omnibench leaderboard show 'my results'"
    assert both == "compare: omnibench leaderboard compare vit-a vit-b --results results"
