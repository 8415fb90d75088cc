from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from omnibench import hookimpl
from omnibench.cards import EncoderSpec
from omnibench.errors import PluginError, SetupError, UsageError
from omnibench.registry import Registry


def plugin(**hooks):
    namespace = SimpleNamespace(__name__="made", **{k: hookimpl(v) for k, v in hooks.items()})
    return namespace


def nothing() -> list[EncoderSpec]:
    return []


def card(name: str) -> EncoderSpec:
    return EncoderSpec(name=name, build=lambda **_: None)


def test_offers_carry_their_origin(toy_registry):
    offer = toy_registry.encoder("toy-encoder")
    assert offer.plugin.distribution == "toybox"
    assert toy_registry.encoder("toybox/toy-encoder").card is offer.card


def test_a_near_miss_is_suggested(toy_registry):
    with pytest.raises(UsageError, match=r"no encoder 'toy-encodr'\. Did you mean toy-enc"):
        toy_registry.encoder("toy-encodr")
    with pytest.raises(UsageError, match="there is no task 'toi'"):
        toy_registry.task("toi")


def test_two_offers_of_one_name_are_an_error_that_names_both():
    registry = Registry.of(plugin(omnibench_encoders=lambda: [card("same")]), distribution="one")
    registry._add("two", "1", "made", lambda: plugin(omnibench_encoders=lambda: [card("same")]))
    with pytest.raises(UsageError, match=r"is offered by one and by two. Name one in full"):
        registry.encoder("same")
    assert registry.encoder("two/same").plugin.distribution == "two"


def test_one_plugin_offering_a_name_twice_is_an_error():
    registry = Registry.of(plugin(omnibench_encoders=lambda: [card("same"), card("same")]))
    with pytest.raises(UsageError, match="offered twice"):
        registry.encoder("same")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: (_ for _ in ()).throw(ModuleNotFoundError("No module named 'x'")), "named 'x'"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: plugin(omnibench_encoder=nothing), "unknown hook 'omnibench_encoder'. Did"),
        (lambda: plugin(omnibench_encoders=lambda: ["text"]), "returned str, not EncoderSpec"),
        (lambda: plugin(omnibench_encoders=lambda: 1 / 0), "division by zero"),
        (lambda: plugin(omnibench_encoders=lambda wrong: []), "wrong"),
        (lambda: plugin(omnibench_encoders=lambda: [card("Bad Name")]), "not allowed"),
    ],
)
def test_a_broken_plugin_is_set_aside_and_listed(toy, broken, message):
    registry = Registry.of(toy)
    registry._add("acme", "1", "broken", broken)
    assert [b.name for b in registry.broken] == ["acme:broken"]
    assert message in registry.broken[0].error
    assert registry.encoder("toy-encoder").card.name == "toy-encoder"
    with pytest.raises(UsageError, match="not loaded: acme:broken"):
        registry.encoder("nobody")


def test_a_broken_plugin_offers_nothing_at_all(toy):
    registry = Registry.of(toy)
    half = plugin(omnibench_encoders=lambda: [card("half")], omnibench_datasets=lambda: ["no"])
    registry._add("acme", "1", "half", lambda: half)
    with pytest.raises(UsageError, match="there is no encoder 'half'"):
        registry.encoder("half")


def test_a_file_can_be_a_plugin(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import omnibench\n"
        "@omnibench.hookimpl\n"
        "def omnibench_encoders():\n"
        "    return [omnibench.EncoderSpec(name='mine', build=lambda **_: None)]\n"
    )
    registry = Registry()
    registry.add_file(file)
    assert registry.encoder("mine").plugin.distribution == "file"


def test_a_plugin_file_that_fails_is_an_error(tmp_path: Path):
    with pytest.raises(SetupError, match="there is no such file"):
        Registry().add_file(tmp_path / "none.py")
    file = tmp_path / "bad.py"
    file.write_text("raise RuntimeError('no luck')")
    with pytest.raises(PluginError, match="no luck"):
        Registry().add_file(file)


def test_the_built_in_cast_comes_in_by_the_entry_points():
    registry = Registry.discover()
    assert not [b for b in registry.broken if b.name.startswith("omnibench:")]
    assert {p.name for p in registry.plugins} >= {
        "omnibench:encoders",
        "omnibench:tasks",
        "omnibench:datasets",
        "omnibench:published",
    }


def test_a_plugin_whose_published_values_are_none_is_set_aside(toy):
    bad = plugin(omnibench_published=lambda: ["87.32"])
    registry = Registry.of(toy, bad)
    assert registry.published() == []
    assert "returned str, not PublishedValue" in registry.broken[0].error


def test_damaged_metadata_of_a_stranger_harm_nothing(tmp_path, monkeypatch):
    broken = tmp_path / "tp_bad-1.dist-info"
    broken.mkdir()
    (broken / "entry_points.txt").write_text("[omnibench]\nbad = not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry.discover()
    assert any("not_there" in b.error for b in registry.broken)
    assert registry.encoder("vit-small").card.name == "vit-small"
