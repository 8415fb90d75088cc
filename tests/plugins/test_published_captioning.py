"""Table 12 as data: every cell, under the metric that it really is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from omnibench.cards import EncoderSpec, PublishedValue
from omnibench_plugins.datasets import rocov2
from omnibench_plugins.encoders import omnibench_encoders
from omnibench_plugins.published import omnirad_2026

CELLS = [value for value in omnirad_2026.values() if value.task == "caption"]


def cell(encoder: str, metric: str, variant: str) -> PublishedValue:
    (found,) = [v for v in CELLS if (v.encoder, v.metric, v.variant) == (encoder, metric, variant)]
    return found


def test_every_cell_is_there_once_and_belongs_to_something_we_have() -> None:
    assert len(CELLS) == 5 * 4 * 5  # encoders, decodings, metrics
    assert len({(v.encoder, v.metric, v.variant) for v in CELLS}) == 100
    assert {v.variant for v in CELLS} == {"beam1-64", "beam4-64", "beam5-64", "beam5-128"}
    assert {v.metric for v in CELLS} == {"bleu", "p1", "p4", "meteor", "rouge_l"}
    cards = {card.name for card in omnibench_encoders() if isinstance(card, EncoderSpec)}
    assert {v.encoder for v in CELLS} <= cards
    assert {v.dataset for v in CELLS} == {card.name for card in rocov2.cards()}
    assert all(v.sd is None for v in CELLS)


def test_bleu_columns_are_precisions() -> None:
    # Paper, Table 12, OmniRad base, 5 beams and 64 tokens.
    printed = {m: cell("omnirad-base", m, "beam5-64").value for m in ("bleu", "p1", "p4")}
    assert printed == {"bleu": 2.97, "p1": 19.39, "p4": 0.54}
    # Their order is that of precisions: BLEU lies between p4 and p1 in every row.
    for value in CELLS:
        if value.metric == "bleu":
            low, high = (cell(value.encoder, m, value.variant).value for m in ("p4", "p1"))
            assert low < value.value < high


def test_only_the_recipe_that_repeats_the_code_is_compared_and_clip_is_not() -> None:
    assert {v.recipes for v in CELLS} == {("released",)}
    reasons = {v.encoder: v.reason for v in CELLS}
    assert "before the last norm" in reasons.pop("clip-base-openai")
    assert set(reasons.values()) == {""}


def test_cells_are_those_of_the_specification(test_data: Path) -> None:
    table = test_data / "spec" / "paper_tables" / "table12_captioning.csv"
    if not table.is_file():
        pytest.skip("the specification's tables are not at hand")
    rows = list(csv.DictReader(table.open()))
    assert sorted(float(row["mean"]) for row in rows) == sorted(v.value for v in CELLS)
