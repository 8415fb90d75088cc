"""Files that a task needs besides the encoder's weights: found early, told apart by content."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants as hub_constants
from toy_requests import toy_request

from omnibench.cards import HubFile, LocalFiles
from omnibench.errors import IntegrityError, SetupError, WeightsMissing
from omnibench.harness import execute
from omnibench.interfaces import RunContext
from omnibench.planning import plan
from omnibench.recipe import digest
from omnibench.records import parse
from omnibench.registry import Registry

FILES = ("words.bin", "config.json")
HUB = HubFile(
    repo="acme/words",
    filename="words.bin",
    companions=("config.json",),
    remedy="Or --set words=PATH.",
)


@pytest.fixture
def wordy(toy: Any) -> Any:
    """The toy plugin, its task in need of a folder, a repository (`hub`) or nothing."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class WordyRecipe(type(toy.task.recipe("paper"))):  # type: ignore[misc]
        words: str = "none"

    class WordyTask(type(toy.task)):  # type: ignore[misc]
        contexts: list[RunContext] = []  # noqa: RUF012

        def recipe(self, name: str, tuning: str | None = None) -> WordyRecipe:
            return WordyRecipe(seeds=1)

        def assets(self, recipe: WordyRecipe) -> Mapping[str, HubFile | LocalFiles]:
            if recipe.words == "none":
                return {}
            local = LocalFiles(folder=Path(recipe.words), names=FILES)
            return {"words": HUB if recipe.words == "hub" else local}

        def run(self, handle: Any, dataset: Any, recipe: Any, context: RunContext) -> Any:
            self.contexts.append(context)
            return super().run(handle, dataset, recipe, context)

    toy.task = WordyTask()
    return toy


@pytest.fixture
def planned(wordy: Any, tmp_path: Path) -> Callable[..., Any]:
    """Plans the toy cell with some words; returns the cell and its request."""
    registry = Registry.of(wordy, distribution="toybox")

    def make(words: str | Path = "none", **changes: Any) -> Any:
        request = toy_request(
            tmp_path, settings={} if words == "none" else {"words": str(words)}, **changes
        )
        [cell] = plan(request, registry)
        return cell, request

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "secret place" / "words")


def written(folder: Path, words: str = "abc") -> Path:
    folder.mkdir(parents=True)
    (folder / "words.bin").write_text(words)
    (folder / "config.json").write_text("{}")
    return folder


def run_ids(cell: Any) -> str:
    return digest(cell.identity(RunContext(seed=0), ""))


def test_a_run_without_assets_keeps_the_identity_it_always_had(planned):
    cell, _ = planned()
    assert "assets" not in cell.identity(RunContext(seed=0), "")


def test_files_reach_the_run_and_their_path_no_record(planned, folder, wordy):
    cell, request = planned(folder)
    [(_, record, path)] = execute([cell], request)
    [context] = wordy.task.contexts
    asset = context.assets["words"]
    assert asset.files == {name: folder / name for name in FILES}
    text = path.read_text()
    assert "secret" not in text and str(folder) not in text
    stored = parse(text.encode(), "here")
    assert stored.recipe["words"] == stored.changes["words"] == asset.name
    assert asset.name == f"folder+{asset.sha256[:8]}"
    assert stored.identity["assets"] == {"words": asset.sha256}
    assert stored.details["assets"]["words"] == {
        "name": asset.name,
        "sha256": asset.sha256,
        "revision": "",
    }
    assert record.status == "complete"


def test_equal_files_are_one_run_wherever_they_lie(planned, folder, tmp_path):
    same, other = written(tmp_path / "b"), written(tmp_path / "c", words="abd")
    ids = [run_ids(planned(words)[0]) for words in ("none", folder, same, other)]
    assert ids[1] == ids[2] and len(set(ids)) == 3
    (folder / "config.json").write_text("[]")
    assert run_ids(planned(folder)[0]) != ids[1], "companions count"


def test_a_missing_file_is_named_before_data_are_opened(planned, folder, monkeypatch):
    (folder / "config.json").unlink()
    monkeypatch.setattr("omnibench.planning._open", lambda *_: pytest.fail("data were opened"))
    with pytest.raises(SetupError, match=r"--set words=.*words: the folder lacks config\.json"):
        planned(folder)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds the repository's commit."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # restored afterwards: offline resolving sets it
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    root = tmp_path / "hub" / "models--acme--words"
    written(root / "snapshots" / ("b" * 40))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("b" * 40)
    return root


def test_files_of_the_hub_are_locked_like_weights(planned, hub_cache):
    cell, request = planned("hub", offline=True)
    asset = cell.assets["words"]
    assert (asset.name, asset.revision) == ("acme/words", "b" * 40)
    assert "acme/words/config.json" in (request.cache / "weights-lock.json").read_text()
    (hub_cache / "snapshots" / ("b" * 40) / "words.bin").write_text("other")
    with pytest.raises(IntegrityError, match="has pinned"):
        planned("hub", offline=True)


def test_missing_files_say_what_to_download_and_the_tasks_own_way_out(planned, hub_cache):
    (hub_cache / "snapshots" / ("b" * 40) / "config.json").unlink()
    with pytest.raises(WeightsMissing) as error:
        planned("hub", offline=True)
    assert "hf download acme/words words.bin config.json" in str(error.value)
    assert str(error.value).endswith("Or --set words=PATH.") and "--weights" not in str(error.value)
