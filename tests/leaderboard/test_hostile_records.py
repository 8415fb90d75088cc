"""Records that the door lets in: whatever odd value a field has, tables are made or say why not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sample_records import restated

from omnibench.errors import OmnibenchError
from omnibench.predictions import pack
from omnibench.recipe import digest
from omnibench.records import RunRecord, parse
from omnibench.registry import Registry
from omnibench.rescoring import rescore
from omnibench.store import Store
from omnibench.summary import summarise
from omnibench_leaderboard.build import build
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.outputs.files import files

ODDITIES: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 1e300, "", "x", [], {}, [[]], [None], {"x": {"x": 1}}),
)
SUITE = 12


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for name, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))


def admitted(whole: RunRecord) -> list[tuple[str, RunRecord, bytes]]:
    """Return every record that the door lets in with one value replaced, and what was replaced."""
    text = whole.to_json()
    found = []
    for path in places(json.loads(text)):
        for odd in ODDITIES:
            body = json.loads(text)
            place = body
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = copy.deepcopy(odd)
            if path[0] == "identity" and isinstance(body["identity"], dict):
                body["run_id"] = digest(body["identity"])
            data = restated(body)
            try:
                found.append((f"{path} = {odd!r}", parse(data, "x"), data))
            except OmnibenchError:
                continue
    return found


@pytest.mark.parametrize("count", [SUITE, pytest.param(10**6, marks=pytest.mark.slow)])
def test_an_odd_record_crashes_no_table(
    tmp_path: Path, synthetic: ModuleType, tasks: Registry, count: int
) -> None:
    own, other = (synthetic.cls_predictions(e, "breastmnist", 0, cases=20) for e in "ab")
    details = {"flags": ["FLAG: said"], "auc_classes": 2}
    whole = synthetic.record(own, encoder="a", details=details)
    beside = synthetic.record(other, encoder="b")
    candidates = admitted(whole)
    assert len(candidates) > 300
    drawn = random.Random(0).sample(candidates, min(count, len(candidates)))
    for number, (name, odd, data) in enumerate(drawn):
        results = tmp_path / str(number)
        store = Store(results)
        store.save(beside, other)
        folder = store.folder(odd.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{odd.record_sha256}.json").write_bytes(data)
        (folder / f"{whole.predictions['sha256']}.npz").write_bytes(pack(own))
        try:
            rescore(results, tasks)
            summarise([(odd, "a")], [], "f1_macro")
            files(build(collect([results], tasks), tasks))
        except OmnibenchError as error:
            assert "\n" not in str(error) or "no record may enter" in str(error), name
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
    print(f"{len(drawn)} odd records of {len(candidates)} crashed no table")
