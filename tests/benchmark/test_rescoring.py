"""Metrics that need a file besides the predictions, rescored where it is absent or another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from toy_requests import toy_request

from omnibench.harness import execute
from omnibench.interfaces import Metric
from omnibench.planning import plan
from omnibench.rescoring import Rescored, rescore

RESOURCE = "Thesaurus 1, sha256 00"


@pytest.fixture
def rescored(tmp_path: Path, toy_registry: Any, toy: Any) -> Iterator[Callable[..., Rescored]]:
    """Runs one seed with some metrics and rescores it where the metrics are others."""
    plain = toy.task.score
    number = count()

    def scoring(extra: Sequence[Metric]) -> Callable[..., list[Metric]]:
        def score(predictions: Mapping[str, Any], split: str = "test") -> list[Metric]:
            return [*plain(predictions, split), *(extra if split == "test" else ())]

        return score

    def run(there: Sequence[Metric], here: Sequence[Metric]) -> Rescored:
        request = toy_request(tmp_path, seeds=(0,), results=tmp_path / f"results-{next(number)}")
        toy.task.score = scoring(there)
        list(execute(plan(request, toy_registry), request))
        toy.task.score = scoring(here)
        (line,) = rescore(request.results, toy_registry)
        return line

    yield run


def synonyms(value: float, resource: str = RESOURCE) -> list[Metric]:
    return [Metric(id="synonyms", value=value, resource=resource)]


def test_what_this_machine_cannot_recompute_is_said_and_no_error(rescored) -> None:
    line = rescored(synonyms(0.5), [])
    assert line.exit_code == 0
    assert line.verdict == (
        "2 metrics equal; not recomputed: test synonyms (needs Thesaurus 1, sha256 00, which is "
        "not on this machine)"
    )


def test_what_only_this_machine_can_compute_is_no_difference(rescored) -> None:
    line = rescored([], synonyms(0.5))
    assert (line.exit_code, line.verdict) == (0, "2 metrics equal")


def test_the_same_resource_must_give_the_same_number(rescored) -> None:
    assert rescored(synonyms(0.5), synonyms(0.5)).verdict == "3 metrics equal"
    line = rescored(synonyms(0.5), synonyms(0.6))
    assert line.exit_code == 4
    assert "synonyms: the record states 0.500000000" in line.verdict


def test_another_version_of_the_resource_may_give_another_number_and_is_named(rescored) -> None:
    assert rescored(synonyms(0.5), synonyms(0.5, "Thesaurus 2")).verdict == "3 metrics equal"
    line = rescored(synonyms(0.5), synonyms(0.6, "Thesaurus 2"))
    assert line.exit_code == 0
    assert "not recomputed: test synonyms (needs Thesaurus 1, sha256 00, here is Thesaurus 2)" in (
        line.verdict
    )


def test_a_resource_written_into_a_record_excuses_no_other_metric(rescored) -> None:
    # `accuracy` needs nothing here, whatever a record says of it.
    line = rescored(
        [Metric(id="plain", value=0.9, resource=RESOURCE)], [Metric(id="plain", value=0.1)]
    )
    assert line.exit_code == 4


def test_metrics_without_a_resource_must_be_the_same_ones(rescored) -> None:
    assert "differ in more" in rescored([], [Metric(id="more", value=0.5)]).verdict
    assert "differ in gone" in rescored([Metric(id="gone", value=0.5)], []).verdict
