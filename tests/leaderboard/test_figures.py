"""Figures: well-formed, described in words, and true to the numbers."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from omnibench_leaderboard.outputs import inert, tables
from omnibench_leaderboard.outputs.figures import cost, critical, rows
from omnibench_leaderboard.outputs.figures.svg import Scale, short

SVG = "{http://www.w3.org/2000/svg}"


def compared(column):
    return [
        rows.Difference(c.encoder, c.against_best, column) for c in column.cells if c.against_best
    ]


def drawn(board):
    """Return every kind of figure of a board."""
    column = board.headlines[0]
    figures = [rows.seeds(column), rows.forest(compared(column), "Differences"), cost.cost(column)]
    for overall in board.overall:
        figures += [critical.diagram(overall), rows.stability(overall)]
    return [ElementTree.fromstring(svg) for svg in figures]


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def test_every_figure_has_a_title_and_a_description_with_its_numbers(boards):
    for root in drawn(boards.board()):
        assert root.get("role") == "img" and root.find(f"{SVG}title").text
        told = root.find(f"{SVG}desc").text
        assert all(name in told for name in boards.NAMES[1:])
        assert re.search(r"\d", told)


def test_hostile_names_are_text_and_nothing_else(boards):
    board = boards.hostile()
    for root in drawn(board):
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {
            *("svg", "title", "desc", "text", "line", "polyline", "circle", "polygon", "rect")
        }
        attributes = {name for element in root.iter() for name in element.attrib}
        assert not [name for name in attributes if name.startswith("on") or "href" in name]
    shown = texts(drawn(board)[0])
    assert {inert.line(name) for name in boards.HOSTILE} <= set(shown)


def test_everything_lies_on_the_canvas(boards):
    for root in drawn(boards.board()):
        width, height = float(root.get("width")), float(root.get("height"))
        for element in root.iter():
            for name, limit in (("x", width), ("cx", width), ("x1", width), ("x2", width)):
                assert 0 <= float(element.get(name, 0)) <= limit
            for name in ("y", "cy", "y1", "y2"):
                assert 0 <= float(element.get(name, 0)) <= height


def test_a_dot_stands_for_every_run_and_a_hollow_mark_for_a_printed_value(boards):
    root = ElementTree.fromstring(rows.seeds(boards.board().headlines[0]))
    kinds = [element.get("class") for element in root.iter()]
    assert kinds.count("seed") == 9 and kinds.count("hollow") == 1
    dots = [float(e.get("cx")) for e in root.iter(f"{SVG}circle")]
    assert dots[0] < dots[1] < dots[2] and dots[6] < dots[3] < dots[0]


def test_a_forest_plot_shows_the_margin_and_the_verdict(boards):
    column = boards.board().headlines[0]
    root = ElementTree.fromstring(rows.forest(compared(column), "x"))
    kinds = [element.get("class") for element in root.iter()]
    assert kinds.count("band") == 2 and kinds.count("worse") == 2
    zero = next(e for e in root.iter(f"{SVG}line") if e.get("class") == "zero")
    marks = [e for e in root.iter(f"{SVG}polygon") if e.get("class") == "worse"]
    assert all(float(m.get("points").split(",")[0]) < float(zero.get("x1")) for m in marks)
    assert "-3.10 [-4.10, -2.10] worse" in texts(root)


def test_the_critical_difference_diagram_draws_a_bar_for_each_clique(boards):
    (overall,) = boards.board().overall
    root = ElementTree.fromstring(critical.diagram(overall))
    bars = [e for e in root.iter(f"{SVG}line") if e.get("class") == "bar"]
    assert len(bars) == 1 + len(overall.cliques)
    assert "critical difference 1.20" in texts(root)


def test_two_encoders_have_no_critical_difference_diagram(boards):
    (overall,) = boards.board().overall
    assert critical.diagram(dataclasses.replace(overall, critical_difference=None)) is None


def test_figures_have_equal_bytes_when_made_twice(boards):
    column = boards.board().headlines[0]
    assert rows.seeds(column) == rows.seeds(column)
    assert cost.cost(column) == cost.cost(column)


def test_no_cost_is_no_figure(boards):
    column = boards.board().headlines[0]
    blank = {name: None for name in column.cells[0].cost.__dataclass_fields__}
    cells = tuple(dataclasses.replace(c, cost=type(c.cost)(**blank)) for c in column.cells)
    assert cost.cost(dataclasses.replace(column, cells=cells)) is None


@pytest.mark.parametrize(
    ("values", "log", "expected"),
    [
        ([0, 10], False, [0, 2, 4, 6, 8, 10]),
        ([86.1, 87.2], False, [86.2, 86.4, 86.6, 86.8, 87.0, 87.2]),
        ([1e6, 1e9], True, [1e6, 1e7, 1e8, 1e9]),
    ],
)
def test_ticks_are_round(values, log, expected):
    assert Scale(values, 0, 100, log=log).ticks == pytest.approx(expected)


def test_one_value_alone_still_has_an_axis():
    for log in (False, True):
        scale = Scale([22_000_000.0], 0, 100, log=log)
        assert scale(22_000_000.0) == pytest.approx(50)
        assert scale.ticks


def test_numbers_on_axes_are_short():
    assert [short(v) for v in (22e6, 9.2e9, 0.5, 87.25)] == ["22M", "9.2G", "0.5", "87.25"]


def test_a_lone_encoder_has_no_mark(boards):
    column = boards.board().headlines[0]
    alone = dataclasses.replace(column, cells=column.cells[:1])
    assert tables.mark(alone, alone.cells[0]) == ""
