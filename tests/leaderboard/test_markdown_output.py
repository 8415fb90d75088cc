"""Markdown: a reader of GitHub's tables gets every text back, and nothing else."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from omnibench_leaderboard.outputs import inert, markdown

READER = MarkdownIt("commonmark").enable("table")
HARMLESS = {"heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "inline"}
HARMLESS |= {"bullet_list", "list_item"}


def kinds(tokens):
    return {re.sub("_(open|close)$", "", token.type) for token in tokens}


def first_cells(text):
    """Return the text of the first cell of every row of every table."""
    tokens = READER.parse(text)
    found = []
    for i, token in enumerate(tokens):
        if token.type == "tr_open":
            found.append("".join(c.content for c in tokens[i + 2].children or ()))
    return found


def test_every_hostile_text_comes_back_from_its_table(boards):
    text = markdown.render(boards.hostile())
    found = set(first_cells(text))
    assert {inert.line(name) for name in boards.HOSTILE} <= found


def test_hostile_texts_make_no_html_links_images_or_headings(boards):
    tokens = READER.parse(markdown.render(boards.hostile()))
    assert kinds(tokens) <= HARMLESS
    inside = {child.type for token in tokens for child in token.children or ()}
    assert inside <= {"text", "text_special", "softbreak", "strong_open", "strong_close"}


def test_bare_addresses_and_mentions_do_not_become_links(boards):
    text = markdown.render(boards.hostile())
    assert not re.search(r"https?://|www\.|\W@\w|@\S*\.", text)


@pytest.mark.parametrize("code", ["\x1b", "\u202e", "\u2066", "\x00"])
def test_control_and_bidirectional_characters_are_gone(boards, code):
    assert code not in markdown.render(boards.hostile())


def test_the_best_is_bold_where_it_is_separated_and_has_a_dagger_where_it_is_not(boards):
    rows = [line for line in markdown.render(boards.board()).splitlines() if "encoder-a" in line]
    summary = rows[0]
    assert "**90.00 ± 0.40**" in summary and "90.00 ± 0.40 †" in summary
    second = next(
        line for line in markdown.render(boards.board()).splitlines() if "| encoder-b" in line
    )
    assert "| 86.90 ± 0.40 |" in second and "86.90 ± 0.40 †" in second


def test_printed_values_are_hollow_and_incomparable_ones_say_why(boards):
    text = markdown.render(boards.board())
    assert "| ○ encoder-a | 77.53 ± 1.36 | – |" in text
    assert "another metric was printed" in text and "| ○ unet" not in text


def test_notes_reasons_and_licences_are_told(boards):
    text = markdown.render(boards.board())
    for told in (
        "data for non-commercial use",
        "not a record",
        "failed (oom)",
        "random weights",
    ):
        assert told in text
    assert text.count("non-commercial; official weights") == 1
