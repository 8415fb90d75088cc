"""The paper's grid as data: complete, countable, and true to its own derived tables."""

from __future__ import annotations

import csv
import statistics
from collections import Counter
from pathlib import Path

import pytest

from omnibench.cards import SPLITS, DatasetSpec, EncoderSpec, PublishedValue
from omnibench_plugins.datasets import omnibench_datasets
from omnibench_plugins.encoders import omnibench_encoders
from omnibench_plugins.published import omnirad_2026
from omnibench_plugins.tasks import omnibench_tasks

VALUES = [value for value in omnirad_2026.values() if value.study]
RUNS = [value for value in VALUES if value.task and not value.pooled]
CARDS = {card.name: card for card in omnibench_datasets() if isinstance(card, DatasetSpec)}


def cells(values: list[PublishedValue]) -> set[tuple[str, ...]]:
    return {(v.encoder, v.task, v.dataset, v.tuning, v.variant) for v in values}


def test_the_grid_has_197_cells() -> None:
    # design.md 5.17: Tables 3-7 have 10 encoders x 5 datasets, Table 8 adds three tunings of one
    # encoder, Tables 9-10 have 14 encoders x 8 datasets, Table 12 has 5 encoders x 4 decodings.
    assert Counter(cell[1] for cell in cells(RUNS)) == {"cls": 65, "seg": 112, "caption": 20}
    assert len(cells(RUNS)) == 50 + 15 + 112 + 20 == 197


def test_every_table_is_there_and_what_the_paper_quotes_is_no_part_of_it() -> None:
    assert Counter(value.table for value in VALUES) == {
        2: 45,
        **dict.fromkeys(range(3, 8), 30),
        8: 20,
        9: 56,
        10: 56,
        11: 42,
        12: 100,
    }
    assert {v.study for v in VALUES} == {"omnirad-2026"}
    quoted = [value for value in omnirad_2026.values() if not value.study]
    assert len(quoted) == 40 and all(v.encoder.startswith("unet-") for v in quoted)


def test_full_tuning_of_table_8_is_the_number_of_tables_3_to_7() -> None:
    full = {v.dataset: (v.value, v.sd) for v in RUNS if v.table == 8 and v.tuning == "full"}
    first = {
        v.dataset: (v.value, v.sd)
        for v in RUNS
        if v.table < 8 and v.encoder == "omnirad-base" and v.metric == "f1_macro"
    }
    assert full == first and len(full) == 5


def test_every_cell_can_be_run_by_the_first_of_its_recipes() -> None:
    encoders = {card.name: card for card in omnibench_encoders() if isinstance(card, EncoderSpec)}
    tasks = {task.name: task for task in omnibench_tasks()}
    for value in RUNS:
        task = tasks[value.task]
        recipe = task.recipe(value.recipes[0], value.tuning or None)
        assert task.accepts(CARDS[value.dataset], encoders[value.encoder], recipe) is None
        assert value.variant in task.variants(recipe)
        assert value.sd is None or value.runs == (5, 3)


def test_table_11_is_the_mean_of_tables_9_and_10() -> None:
    pools = [v for v in VALUES if v.pooled and v.printed_metric == "miou"]
    assert len(pools) == 14
    for pool in pools:
        fed = [v for v in RUNS if v.encoder == pool.encoder and v.dataset in pool.pooled]
        fed = [v for v in fed if v.metric == pool.metric]
        assert len(fed) == len(pool.pooled) == 8
        assert statistics.fmean(v.value for v in fed) == pytest.approx(pool.value, abs=0.0051)


def test_pooled_sds_come_out_with_three_runs_and_never_with_five() -> None:
    # statistics.md 1.1: 13 of 14 rows within 0.0075 for three runs, none for five.
    def within(runs: int) -> int:
        found = 0
        for pool in (v for v in VALUES if v.pooled and v.printed_metric == "miou"):
            fed = [v for v in RUNS if (v.encoder, v.metric) == (pool.encoder, pool.metric)]
            middle = statistics.fmean(v.value for v in fed)
            squares = runs * sum((v.value - middle) ** 2 for v in fed)
            squares += (runs - 1) * sum((v.sd or 0.0) ** 2 for v in fed)
            sd = (squares / (8 * runs - 1)) ** 0.5
            found += abs(sd - (pool.sd or 0.0)) <= 0.0075
        return found

    assert (within(3), within(5)) == (13, 0)


def test_table_2_is_what_the_cards_say() -> None:
    printed: dict[str, dict[str, float]] = {}
    for value in VALUES:
        if value.table == 2:
            printed.setdefault(value.dataset, {})[value.printed_metric] = value.value
    assert len(printed) == 15
    for name, sizes in printed.items():
        assert CARDS[name].split_sizes == tuple(sizes[split] for split in SPLITS), name


def test_numbers_are_those_of_the_specification(test_data: Path) -> None:
    folder = test_data / "spec" / "paper_tables"
    if not folder.is_dir():
        pytest.skip("the specification's tables are not at hand")
    for number in (3, 8, 9, 11):
        (table,) = folder.glob(f"table{number:02d}_*.csv")
        rows = [row for row in csv.DictReader(table.open()) if row["mean"] and row["std"]]
        ours = [(v.value, v.sd) for v in VALUES if v.table == number]
        stated = [
            (float(r["mean"]), float(r["std"])) for r in rows if r["model"] in omnirad_2026.ENCODERS
        ]
        assert sorted(ours) == sorted(stated)
