"""Two offers of one name (row 16 of the plan): nobody wins by order, both origins are named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from omnibench import hookimpl
from omnibench.cards import DatasetPrefix, DatasetSpec, EncoderPrefix, EncoderSpec
from omnibench.errors import UsageError
from omnibench.registry import Registry

Command = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]

OFFER = """
import omnibench
@omnibench.hookimpl
def omnibench_encoders():
    return [omnibench.EncoderSpec(name={name!r}, build=print)]
"""


def encoder(name: str) -> EncoderSpec:
    return EncoderSpec(name=name, build=lambda **_: None)


def two(hook: str, make: Callable[[], Any]) -> Registry:
    """A registry in which `one` and `two` offer the same."""
    found = Registry()
    for distribution in ("one", "two"):
        made = SimpleNamespace(**{hook: hookimpl(lambda: [make()])})
        found._add(distribution, "1", "offers", lambda made=made: made)
    return found


def dataset() -> DatasetSpec:
    return DatasetSpec(name="same", kind="labels", open=lambda access: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("hook", "make", "look_up"),
    [
        ("omnibench_encoders", lambda: encoder("same"), lambda r: r.encoder("same")),
        ("omnibench_datasets", dataset, lambda r: r.dataset("same")),
        (
            "omnibench_encoders",
            lambda: EncoderPrefix(prefix="same", make=encoder),
            lambda r: r.encoder("same:x"),
        ),
        (
            "omnibench_datasets",
            lambda: DatasetPrefix(prefix="same", make=lambda rest: dataset()),
            lambda r: r.dataset("same:x"),
        ),
    ],
    ids=["encoders", "datasets", "encoder prefixes", "dataset prefixes"],
)
def test_two_distributions_are_an_error_that_names_both(
    hook: str, make: Callable[[], Any], look_up: Callable[[Registry], object]
) -> None:
    with pytest.raises(UsageError, match="is offered by one and by two"):
        look_up(two(hook, make))


def test_two_tasks_of_one_name_are_an_error_that_names_both(toy: Any) -> None:
    with pytest.raises(UsageError, match="task 'toy' is offered by one and by two"):
        two("omnibench_tasks", lambda: toy.task).task("toy")


def test_one_distribution_with_two_entry_points_is_named_once() -> None:
    found = Registry()
    for entry in ("first", "second"):
        made = SimpleNamespace(omnibench_encoders=hookimpl(lambda: [encoder("same")]))
        found._add("one", "1", entry, lambda made=made: made)
    with pytest.raises(UsageError, match="offered twice by one; remove one"):
        found.encoder("same")


def test_shadowing_a_built_in_by_an_installed_plugin_is_an_error_that_names_both(
    install: Install, command: Command
) -> None:
    install("acme-vits", OFFER.format(name="vit-small"))
    run = ("--task", "cls", "--dataset", "breastmnist", "--offline", "--random-weights")
    done = command("run", "--encoder", "vit-small", *run)
    assert done.returncode == 2
    assert "encoder 'vit-small' is offered by acme-vits and by omnibench" in done.stderr
    # Named in full either is had: what is lacking then is the dataset.
    full = command("run", "--encoder", "omnibench/vit-small", *run)
    assert full.returncode == 5 and "breastmnist_224.npz is missing" in full.stderr


@pytest.mark.parametrize(
    "variant",
    [
        "ViT-Small",
        "VIT-SMALL",
        "ｖｉｔ-ｓｍａｌｌ",
        "vit-sm\u0430ll",
        "vit-small\u200b",
        "vıt-small",
    ],
    ids=["title", "upper", "fullwidth", "cyrillic", "zero-width", "dotless"],
)
def test_variants_of_a_built_in_name_cannot_be_offered_at_all(variant: str) -> None:
    found = Registry.discover()
    made = SimpleNamespace(omnibench_encoders=hookimpl(lambda: [encoder(variant)]))
    found._add("acme", "1", "offers", lambda: made)
    assert found.encoder("vit-small").plugin.distribution == "omnibench"
    with pytest.raises(UsageError) as caught:
        found.encoder(variant)
    assert "not loaded: acme:offers: encoder name" in str(caught.value)


def test_two_entry_points_of_one_module_are_not_two_offers() -> None:
    made = SimpleNamespace(omnibench_encoders=hookimpl(lambda: [encoder("same")]))
    found = Registry()
    found._add("one", "1", "offers", lambda: made)
    found._add("two", "1", "offers", lambda: made)
    assert found.encoder("same").plugin.distribution == "one"
    assert found.broken[0].name == "two:offers", "said, not dropped in silence"
