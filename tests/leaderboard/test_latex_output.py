"""LaTeX: what strangers write is printed and never executed; the whole compiles."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from omnibench_leaderboard.outputs import inert, latex

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage[margin=1cm,landscape]{geometry}
\begin{document}
\input{tables}
\end{document}
"""


def compiled(text, folder):
    """Compile tables and return the engine's log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no TeX engine: install texlive-latex-recommended")
    (folder / "tables.tex").write_text(text, encoding="utf-8")
    (folder / "main.tex").write_text(DOCUMENT, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*command, "main.tex"], cwd=folder, capture_output=True, check=False, timeout=120
    )
    log = (folder / "main.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    return log


def test_an_ordinary_board_compiles(boards, tmp_path):
    log = compiled(latex.render(boards.board()), tmp_path)
    assert "Output written on main.pdf" in log and "Overfull" not in log


def test_a_hostile_board_compiles_and_reads_no_file(boards, tmp_path):
    log = compiled(latex.render(boards.hostile()), tmp_path)
    assert "passwd" not in log and not (tmp_path / "owned").exists()


def test_only_our_own_commands_are_left_in_hostile_texts(boards):
    for text in boards.HOSTILE:
        shown = inert.latex(text)
        commands = set(re.findall(r"\\([a-zA-Z]+)", shown))
        known = {"textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater"}
        known |= {
            "textbar",
            "symbol",
            "pm",
            "times",
            "cdot",
            "dag",
            "dots",
            "i",
            "j",
            "v",
            "c",
            "r",
        }
        assert commands <= known, text
        bare = re.sub(r"\\([a-zA-Z]+|.)", "", shown)
        assert not re.search(r"[#%&_^~\\\"'`<>|]", bare), text
        assert shown.isascii(), text


def test_characters_that_small_fonts_lack_are_named_by_number():
    assert inert.latex("Zürich 脳") == 'Z\\"{u}rich U+8133'


def test_the_best_is_bold_only_where_it_is_separated(boards):
    text = latex.render(boards.board())
    (row,) = [r for r in text.splitlines() if r.startswith("encoder{-}a") and "mean" not in r][:1]
    assert r"\textbf{90.00 $\pm$ 0.40}" in row and r"90.00 $\pm$ 0.40\,\dag" in row


def test_captions_state_unit_runs_and_cases(boards):
    captions = re.findall(r"\\caption\{(.*)\}", latex.render(boards.board()))
    assert len(captions) == 3
    assert all("percent" in c and "n = 3" in c and "129" in c for c in captions)
    assert "Data for non{-}commercial use." in captions[0]


def test_a_wide_table_is_cut_into_parts(boards):
    datasets = tuple(f"dataset-{i}" for i in range(9))
    text = latex.render(boards.board(datasets=datasets))
    assert "(part 3 of 3)" in text and "(part 4" not in text
