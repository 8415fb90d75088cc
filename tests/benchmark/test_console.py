"""Tables on terminals of any width: nothing is cropped."""

from __future__ import annotations

import re
import sys

import pytest

from omnibench.console import print_lines, print_table

STYLE = re.compile(r"\x1b\[[0-9;]*m")
COLUMNS = ("dataset", "kind", "licence", "notes")
ROW = ("uwaterlooskincancer", "masks", "Non-commercial use", "pictures of skin, " * 6)


def printed(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What a terminal of that width shows."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, [ROW, ("busi", "masks", "", "")])
    return STYLE.sub("", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("width", [200, 80])
def test_a_table_that_fits_has_a_line_of_headings(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(width, monkeypatch, capsys)
    assert any(line.split() == list(COLUMNS) for line in lines)
    assert any(line.startswith(" uwaterlooskincancer ") for line in lines)
    assert max(map(len, lines)) <= width


def test_a_table_that_does_not_fit_becomes_a_paragraph_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(48, monkeypatch, capsys)
    assert lines[0] == "uwaterlooskincancer"
    told = " ".join(line.strip() for line in lines[1 : lines.index("busi")])
    assert told == "kind masks · licence Non-commercial use · notes " + ROW[3].strip()
    assert lines[lines.index("busi") + 1 :] == ["  kind masks"]
    assert max(map(len, lines)) <= 48


@pytest.mark.parametrize(
    "hidden",
    ["\x1b[31m", "\x07", "\r", "\x9b", "\u202e", "\u2066", "\u200f", "\u061c", "\ud800"],
    ids=ascii,
)
def test_what_could_forge_or_break_output_is_left_out(
    hidden: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_lines([f"a{hidden}b"])
    print_table(("x",), [(f"a{hidden}b",)])
    said = capsys.readouterr().out
    said.encode("utf-8")
    assert hidden not in said and said.count("b") == 2
