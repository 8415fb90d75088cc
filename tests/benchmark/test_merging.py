"""`omnibench merge`: several results folders as one, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sample_records
from click.testing import CliRunner, Result

from omnibench.cli import cli
from omnibench.errors import OmnibenchError, UsageError
from omnibench.store import Store


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two sources, of which one run is in both, and a target."""
    one, two, target = (tmp_path / name for name in ("one", "two", "target"))
    for folder, seeds in ((one, (0, 1)), (two, (1, 2))):
        for seed in seeds:
            Store(folder).save(sample_records.record(seed), sample_records.arrays(seed))
    return one, two, target


def merge(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["merge", *map(str, arguments)])


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_target_holds_every_run_once_and_bit_for_bit(folders):
    one, two, target = folders
    done = merge(one, two, "--into", target, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(x["copied"], x["known"], x["damaged"]) for x in told] == [(2, 0, []), (1, 1, [])]
    assert content(target) == content(one) | content(two)
    again = json.loads(merge(one, two, "--into", target, "--json").stdout)
    assert [(x["copied"], x["known"]) for x in again] == [(0, 2), (0, 2)]


def test_pictures_and_kept_weights_come_along(tmp_path):
    source, target = Store(tmp_path / "one"), tmp_path / "target"
    weights = {"head.weight": np.ones((2, 3), np.float32)}
    record = sample_records.record(0, weights=Store.prepare_weights(weights))
    source.save_weights(weights)
    source.save(record, sample_records.arrays(0))
    source.save_picture(record.run_id, b"a picture")
    assert merge(source.root, "--into", target).exit_code == 0
    assert content(target) == content(source.root)


def test_other_outcomes_of_one_run_are_kept_side_by_side(folders, tmp_path, caplog):
    one, _, target = folders
    other = {"accuracy": {"value": 0.75, "unit": "fraction", "higher_is_better": True}}
    changed = sample_records.record(0, metrics=other)
    Store(tmp_path / "three").save(changed, sample_records.arrays(0))
    assert merge(one, tmp_path / "three", "--into", target).exit_code == 0
    Store(target).find(changed.run_id)
    assert "REPLICATES DIFFER" in caplog.text


@pytest.mark.parametrize("damage", ["record", "predictions", "missing"])
def test_a_damaged_run_is_named_and_left_out(folders, damage):
    one, two, target = folders
    record = sample_records.record(0)
    path = Store(one).folder(record.run_id) / f"{record.record_sha256}.json"
    if damage == "record":
        path.write_bytes(path.read_bytes().replace(b"0.5", b"0.9"))
    else:
        [npz] = path.parent.glob("*.npz")
        npz.unlink() if damage == "missing" else npz.write_bytes(npz.read_bytes()[:-1])
    done = merge(one, two, "--into", target)
    assert done.exit_code == 4
    assert path.stem in done.stderr or npz.stem in done.stderr
    assert {p.stem for p in Store(target).paths()} == {p.stem for p in Store(two).paths()}


def test_a_target_whose_predictions_are_damaged_is_mended(folders):
    one, _, target = folders
    merge(one, "--into", target)
    [npz] = Store(target).folder(sample_records.record(0).run_id).glob("*.npz")
    npz.write_bytes(npz.read_bytes()[:-1])
    assert merge(one, "--into", target).exit_code == 0
    assert content(target) == content(one)


def test_folders_without_records_and_a_folder_into_itself_are_refused(folders, tmp_path):
    one, _, target = folders
    for arguments, reason in (
        ((tmp_path / "none", "--into", target), "holds no records"),
        ((one, "--into", one), "into itself"),
    ):
        done = merge(*arguments)
        assert isinstance(done.exception, OmnibenchError)
        with pytest.raises(UsageError, match=reason):
            raise done.exception
    assert not target.exists()
