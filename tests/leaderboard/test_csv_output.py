"""CSV and JSON: every number with all its digits, and no formula."""

from __future__ import annotations

import csv
import io

import pytest

from omnibench.errors import IntegrityError
from omnibench_leaderboard import board_json
from omnibench_leaderboard.outputs import csv_table, inert


def rows(board):
    return list(csv.DictReader(io.StringIO(csv_table.render(board))))


def test_hostile_texts_come_back_and_none_begins_a_formula(boards):
    found = rows(boards.hostile())
    names = {row["encoder"] for row in found}
    for text in boards.HOSTILE:
        assert {inert.line(text), f"'{inert.line(text)}"} & names, text
    values = {value for row in found for value in row.values()}
    risky = [value for value in values if value.startswith(tuple("=+-@＝＋－＠\t\r"))]
    assert risky and all(float(value) < 0 for value in risky)


def test_numbers_stay_numbers_with_all_their_digits(boards):
    board = boards.board()
    found = {(r["dataset"], r["metric"], r["encoder"]): r for r in rows(board) if r["n"]}
    for column in board.columns:
        for cell in column.cells:
            row = found[column.setting.dataset, column.metric, cell.encoder]
            assert float(row["mean"]) == cell.mean and float(row["sd"]) == cell.sd
            assert tuple(map(float, row["values"].split())) == cell.values
            if cell.against_best:
                assert float(row["best_difference"]) == cell.against_best.difference


def test_printed_values_are_rows_of_evidence_level_0_without_a_rank(boards):
    printed = [row for row in rows(boards.board()) if row["evidence"] == "0"]
    assert len(printed) == 4 and all(row["rank"] == row["n"] == "" for row in printed)
    assert [bool(row["not_comparable"]) for row in printed[:2]] == [False, True]


def test_json_gives_the_same_board_back(boards):
    for board in (boards.board(), boards.hostile()):
        text = board_json.to_json(board)
        assert board_json.from_json(text) == board
        assert board_json.to_json(board_json.from_json(text)) == text


def test_foreign_json_is_no_board():
    with pytest.raises(IntegrityError, match="not a board"):
        board_json.from_json('{"schema": "omnibench.board/2"}')
