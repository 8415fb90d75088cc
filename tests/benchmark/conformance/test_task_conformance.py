"""The kit finds each way in which a task breaks its contract, and nothing in built-in ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omnibench_plugins.tasks
from omnibench.conformance import assert_conforms, check_task
from omnibench.conformance.tasks import tiny_recipe
from omnibench.interfaces import Metric, Outcome, Task
from omnibench.registry import Registry

COUNTER = itertools.count()
TASKS = Registry.of(omnibench_plugins.tasks)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cls", {"image_size": "32"}),
        ("knn", {}),
        ("linear", {}),
        ("seg", {}),
        pytest.param(
            "caption",
            {"language_model": "scratch", "image_size": "32", "decodings": "beam1-16"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_built_in_tasks_pass(name: str, settings: dict[str, str]) -> None:
    task = TASKS.task(name).card
    findings = list(check_task(task, recipe=tiny_recipe(task, settings)))
    assert_conforms(findings)
    assert all(f.status == "PASS" for f in findings), "nothing was skipped"


def test_another_tuning_passes() -> None:
    task = TASKS.task("cls").card
    small = {"epochs": 1, "image_size": 32, "batch_size": 4}
    recipe = dataclasses.replace(task.recipe("quick", "lora-r8"), **small)
    assert_conforms(check_task(task, recipe=recipe))


def test_a_task_that_needs_files_is_not_run_and_that_is_said() -> None:
    found = {f.check: f for f in check_task(TASKS.task("caption").card)}
    run = found["a run yields the variants it promises"]
    assert run.status == "SKIP" and "it needs files for language_model" in run.message


@dataclasses.dataclass(frozen=True)
class Bare:
    normalization: str = "own"
    pool: str = "cls"


@dataclasses.dataclass
class Thawed:
    normalization: str = "own"
    pool: str = "cls"
    seeds: int = 1


def outcomes(change: Callable[[Outcome], Outcome]) -> Callable[[Any], Callable[..., Any]]:
    """Returns a `run` that changes what the toy's yields."""

    def around(original: Any) -> Callable[..., Iterator[Outcome]]:
        def run(self: Any, *arguments: Any) -> Iterator[Outcome]:
            yield from map(change, original(self, *arguments))

        return run

    return around


def predictions(**arrays: Any) -> Callable[[Any], Callable[..., Any]]:
    return outcomes(
        lambda o: dataclasses.replace(
            o,
            predictions={k: v for k, v in {**o.predictions, **arrays}.items() if v is not None},
        )
    )


def always(value: Any) -> Callable[[Any], Callable[..., Any]]:
    return lambda original: lambda *_, **__: value


def writes_to_the_pristine(original: Any) -> Callable[..., Iterator[Outcome]]:
    def run(self: Any, handle: Any, *arguments: Any) -> Iterator[Outcome]:
        handle.build(normalization="own", pool="cls")
        next(handle._pristine.parameters()).data.add_(1)
        yield from original(self, handle, *arguments)

    return run


OBJECTS = np.array([{}, []], dtype=object)


@pytest.mark.parametrize(
    ("what", "change", "complaint"),
    [
        ("version", lambda _: 0, "its version is 0"),
        ("summary", lambda _: "", "its summary is empty"),
        ("recipes", lambda _: ("paper", "paper"), "name at least one, each once"),
        ("precision", always("fp8"), r"precision\(\) returns 'fp8'"),
        ("recipe", always(Bare()), "recipe 'paper': it lacks the fields seeds"),
        ("recipe", always(Thawed()), "Thawed; make it a frozen dataclass"),
        ("accepts", always(""), "return None or the reason in words"),
        ("accepts", always("never"), "it accepts nothing to run on: never"),
        ("variants", always(("a", "b")), r"promises \('a', 'b'\), run\(\) yields \(''"),
        ("run", predictions(test_id=None), "predictions need test_id"),
        ("run", predictions(test_id=np.arange(8)), "the ids of the whole split in its order"),
        ("run", predictions(odd=OBJECTS), "'odd' are an object array|object"),
        ("run", predictions(odd=np.array([np.nan])), "not finite"),
        (
            "run",
            outcomes(lambda o: dataclasses.replace(o, params_trainable=10**9)),
            "count both",
        ),
        ("score", always([Metric(id="accuracy", value=float("nan"))]), "accuracy are not finite"),
        ("score", always([Metric(id="other", value=0.5)]), "headline 'accuracy' among them"),
        (
            "score",
            lambda _: lambda *__, **___: [Metric(id="accuracy", value=next(COUNTER) / 1e9)],
            "scored twice",
        ),
        (
            "run",
            outcomes(
                lambda o: dataclasses.replace(
                    o, predictions={**o.predictions, "odd": np.array([next(COUNTER)])}
                )
            ),
            "two runs of one seed differ",
        ),
        ("stochastic", always(False), r"stochastic\(\) says no, yet another seed"),
        (
            "run",
            predictions(test_score=np.zeros(8), val_score=np.zeros(8)),
            "says yes, yet another",
        ),
        ("run", writes_to_the_pristine, "changes the encoder that later seeds are given"),
        ("draw", always(b"<svg/>"), "return a PNG or None"),
    ],
)
def test_what_is_broken_is_named(
    toy: Any, monkeypatch: pytest.MonkeyPatch, what: str, change: Any, complaint: str
) -> None:
    monkeypatch.setattr(type(toy.task), what, change(getattr(type(toy.task), what)), raising=False)
    with pytest.raises(AssertionError, match=complaint):
        assert_conforms(check_task(toy.task))


def test_the_toy_task_breaks_one_rule_and_cannot_be_imported_elsewhere(toy: Any) -> None:
    findings = {f.check: f for f in check_task(toy.task)}
    (failed,) = (f for f in findings.values() if f.status == "FAIL")
    assert "--set fail_seed=-1: fail_seed must be finite and not negative" in failed.message
    apart = findings["accepting and scoring need no torch"]
    assert apart.status == "SKIP" and "a fresh process cannot import it" in apart.message


@pytest.mark.parametrize(
    ("inside", "complaint"), [("import torch", r"score\(\) imports torch"), ("pass", None)]
)
def test_scoring_that_imports_torch_is_found_in_a_process_of_its_own(
    tmp_path: Path, inside: str, complaint: str | None
) -> None:
    file = tmp_path / "light_task.py"
    file.write_text(LIGHT.format(inside=inside))
    task: Task = Registry.discover([file]).task("light").card
    findings = {f.check: f for f in check_task(task, plugins=[file])}
    found = findings["accepting and scoring need no torch"]
    assert (found.status, bool(found.message)) == (("FAIL", True) if complaint else ("PASS", False))
    if complaint:
        with pytest.raises(AssertionError, match=complaint):
            assert_conforms([found])


LIGHT = '''
from dataclasses import dataclass

import numpy as np

import omnibench


@dataclass(frozen=True, kw_only=True)
class Recipe:
    normalization: str = "own"
    pool: str = "cls"
    seeds: int = 1


class Light:
    """Says of every image that it is bright."""

    name, version, summary, recipes, tunings = "light", 1, "all bright", ("paper",), ()

    def recipe(self, name, tuning=None):
        return Recipe()

    def accepts(self, dataset, encoder, recipe):
        return None if dataset.kind == "labels" else f"it has {{dataset.kind}}, not labels"

    def stochastic(self, recipe):
        return False

    def precision(self, asked, recipe):
        return "fp32"

    def variants(self, recipe):
        return ("",)

    def headline(self, recipe):
        return "accuracy"

    def run(self, handle, dataset, recipe, context):
        split = dataset.split("test")
        labels = np.array([split.target(i) for i in range(len(split))])
        yield omnibench.Outcome(
            predictions={{"test_id": split.ids, "test_label": labels}}, params_total=1
        )

    def score(self, predictions, split="test"):
        {inside}
        return [omnibench.Metric(id="accuracy", value=float(predictions["test_label"].mean()))]

    def draw(self, dataset, predictions, title):
        return None


@omnibench.hookimpl
def omnibench_tasks():
    return [Light()]
'''
