"""`omnibench check` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from omnibench import commands
from omnibench.cli import cli
from omnibench.errors import OmnibenchError, SetupError, UsageError
from omnibench.registry import Registry

CARDS = """
import omnibench
from omnibench.conformance import specimens


def constant(**how):
    encoder = specimens.build(**how)
    forward = encoder._features
    encoder._features = lambda x: forward(x)._replace(pooled=x.new_ones(len(x), 32))
    return encoder


@omnibench.hookimpl
def omnibench_encoders():
    import dataclasses

    card = specimens.encoder_card()
    both = dataclasses.replace(card, name="specimen-masks")
    return [card, both, dataclasses.replace(card, name="dull", build=constant)]


@omnibench.hookimpl
def omnibench_datasets():
    return [specimens.dataset_card("labels"), specimens.dataset_card("masks")]
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `omnibench check` in this process with a plugin file."""
    file = tmp_path / "cards.py"
    file.write_text(CARDS)
    registry = Registry.discover([file])
    monkeypatch.setattr(commands.check, "registry_of", lambda files=(): registry)

    def call(*arguments: str) -> Result:
        folder = ["--cache", str(tmp_path), "--device", "cpu"]
        return CliRunner().invoke(cli, ["check", *folder, *arguments])

    return call


def test_a_line_a_check_and_exit_code_0_for_a_sound_encoder(check: Any) -> None:
    done = check("specimen", "--size", "64")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 24
    assert all(line.startswith(("PASS  encoder specimen", "SKIP  encoder")) for line in lines)


def test_a_broken_contract_is_told_with_exit_code_3(check: Any) -> None:
    done = check("dull", "--size", "64")
    assert done.exit_code == 3
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    told = "different images give different features: pooled features are the same"
    assert any(told in line for line in failed), "and others that follow from it"


def test_json_holds_every_finding(check: Any) -> None:
    found = json.loads(check("specimen-labels", "--json", "--limit", "2").stdout)
    assert {f["subject"] for f in found} == {"dataset specimen-labels"}
    assert {f["status"] for f in found} == {"PASS", "SKIP"}
    assert set(found[0]) == {"subject", "check", "status", "message"}


def test_tasks_take_fields_and_a_name_of_two_kinds_takes_a_kind(check: Any) -> None:
    done = check("knn", "--set", "image_size=32")
    assert done.exit_code == 0 and done.stdout.count("PASS  task knn") == 12
    done = check("specimen-masks")
    assert isinstance(done.exception, UsageError)
    assert "is encoder and dataset; add --kind encoder" in str(done.exception)
    assert check("specimen-masks", "--kind", "dataset").exit_code == 0


def test_a_variant_of_a_dataset_is_checked_by_its_reference(check: Any) -> None:
    done = check("clean:specimen-labels")
    assert done.exit_code == 0, done.output
    assert "PASS  dataset specimen-labels-clean" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("specimn",), UsageError, "no encoder, task or dataset 'specimn'. Did you mean specimen"),
        (("tim:resnet50",), UsageError, "Did you mean timm"),
        (("kn", "--kind", "task"), UsageError, "there is no task 'kn'. Did you mean knn"),
        (("specimen-labels", "--size", "64"), UsageError, "published at its native size only"),
        (("specimen-labels", "--set", "a=b"), UsageError, "has the options none"),
        (("knn", "--set", "kk=3"), UsageError, "no field 'kk'"),
        (("knn", "--size", "64"), UsageError, "--size has no effect on the task 'knn'"),
        (("specimen", "--set", "a=b"), UsageError, "--set has no effect on the encoder"),
        (("specimen", "--weights", "no/file"), SetupError, "there is no file no/file"),
        (("omnirad-base", "--offline"), SetupError, "omnirad-base|Snarcy"),
        (("specimen", "--device", "cuda:9"), SetupError, "--device cpu"),
    ],
)
def test_what_was_typed_wrong_is_told_with_what_to_do(
    check: Any, arguments: tuple[str, ...], error: type[OmnibenchError], message: str
) -> None:
    done = check(*arguments)
    assert isinstance(done.exception, error), done.output
    with pytest.raises(error, match=message):
        raise done.exception
