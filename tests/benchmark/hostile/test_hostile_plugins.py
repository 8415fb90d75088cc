"""Plugins that break (row 15 of the plan): set aside, listed with a reason, harmless to others."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omnibench import hookimpl, listing, registry, screening
from omnibench.cards import DatasetSpec, EncoderPrefix, EncoderSpec
from omnibench.errors import PluginError
from omnibench.registry import Registry

Command = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]

HEAD = "import omnibench\n"
OFFER = HEAD + (
    "@omnibench.hookimpl\n"
    "def omnibench_encoders():\n"
    "    return [omnibench.EncoderSpec(name={name!r}, build=print)]\n"
)
RECURSES = """
import importlib, sys
def again():
    sys.modules.pop(__name__, None)
    importlib.import_module(__name__)
again()
"""
# Distribution: what its module says, and words of the reason that is listed.
BROKEN = {
    "tp-raises": ("raise RuntimeError('no luck\\nerror: forged line')", "no luck error: forged"),
    "tp-exits": ("import sys; sys.exit(7)", "SystemExit: 7"),
    "tp-base": ("class Stop(BaseException): pass\nraise Stop('beyond')", "Stop: beyond"),
    "tp-recurses": (RECURSES, "RecursionError"),
    "tp-lacks": ("import a_package_nobody_has", "No module named 'a_package_nobody_has'"),
    "tp-old": ("from omnibench import ThingOfVersion9", "cannot import name 'ThingOfVersion9'"),
    "tp-new": (
        HEAD + "@omnibench.hookimpl\ndef omnibench_encodings():\n    return []\n",
        "unknown hook 'omnibench_encodings'",
    ),
    "tp-syntax": ("def broken(:\n", "SyntaxError"),
    "tp-mute": (
        "class Mute(Exception):\n    def __str__(self):\n        raise ValueError\nraise Mute\n",
        "its error cannot be shown",
    ),
    "tp-types": (
        HEAD + "@omnibench.hookimpl\ndef omnibench_encoders():\n"
        "    return [omnibench.EncoderSpec(name='x', build=print, licence=None)]\n",
        "encoder: licence is None, str was expected",
    ),
    "tp-name": (OFFER.format(name="../../etc/passwd"), "'../../etc/passwd' is not allowed"),
    "tp-endless": (
        HEAD + "import itertools\n@omnibench.hookimpl\ndef omnibench_encoders():\n"
        "    return (omnibench.EncoderSpec(name=f'x{n}', build=print)"
        " for n in itertools.count())\n",
        "more than 10000 offers",
    ),
}  # fmt: skip


@pytest.fixture
def broken(install: Install) -> None:
    for distribution, (source, _) in BROKEN.items():
        install(distribution, source)
    install("tp-good", "print('a plugin that prints')\n" + OFFER.format(name="good-vit"))


def test_every_broken_plugin_is_listed_and_the_others_work(broken: None, command: Command) -> None:
    done = command("list", "--json")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)  # what a plugin prints does not mix with data
    assert "a plugin that prints" in done.stderr
    states = {row["plugin"]: row["state"] for row in tables["plugins"]}
    for distribution, (_, words) in BROKEN.items():
        assert words in states[f"{distribution}:offers"], distribution
        assert states[f"{distribution}:offers"].startswith("not loaded: ")
    names = {row["encoder"] for row in tables["encoders"]}
    assert {"good-vit", "vit-small"} <= names
    assert not {"x", "x0", "../../etc/passwd"} & names


def test_asking_for_what_a_broken_plugin_offers_names_the_broken(
    broken: None, command: Command
) -> None:
    done = command("run", "--encoder", "x", "--task", "cls", "--dataset", "breastmnist")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(f"not loaded: {name}:offers: " in done.stderr for name in BROKEN)
    lines = done.stderr.splitlines()
    assert not any(line.startswith("error: forged line") for line in lines)


def test_a_plugin_whose_import_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> Any:
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(registry, "SECONDS", 0.2)
    found = Registry()
    found._add("tp-hangs", "1", "offers", hang)
    (broken,) = found.broken
    assert "TookTooLong: it did not end in time" in broken.error


def test_a_plugin_that_swallows_exceptions_is_given_up_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang() -> Any:
        while True:
            with contextlib.suppress(Exception):  # this is the fault
                time.sleep(0.01)

    monkeypatch.setattr(registry, "SECONDS", 0.2)
    found = Registry()
    found._add("tp-hangs", "1", "offers", hang)
    assert "TookTooLong" in found.broken[0].error


def test_published_values_and_commands_that_hang_are_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang(*_: object) -> Any:
        time.sleep(60)

    made = SimpleNamespace(
        omnibench_published=hookimpl(lambda: hang()),
        omnibench_commands=hookimpl(lambda cli: hang()),
    )
    found = Registry.of(made)
    monkeypatch.setattr(registry, "SECONDS", 0.2)
    assert found.published() == []
    found.add_commands(None)  # type: ignore[arg-type]
    assert [b.error for b in found.broken] == ["TookTooLong: it did not end in time"] * 2


def test_an_alarm_of_somebody_else_goes_on() -> None:
    rang = threading.Event()
    old = signal.signal(signal.SIGALRM, lambda *_: rang.set())
    before = signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        with screening.guarded(30.0):
            pass
        deadline = time.monotonic() + 5
        while not rang.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rang.is_set()
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_outside_the_main_thread_plugins_load_without_a_limit() -> None:
    made: list[Registry] = []
    thread = threading.Thread(target=lambda: made.append(Registry.discover()))
    thread.start()
    thread.join()
    assert not made[0].broken and made[0].encoders


def test_what_a_user_interrupts_is_not_called_a_broken_plugin() -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Registry()._add("tp", "1", "offers", interrupted)


def test_wrong_types_of_any_card_are_refused_before_a_list_trips_over_them() -> None:
    dataset = DatasetSpec(name="d", kind="labels", open=lambda access: None)  # type: ignore[arg-type,return-value]
    encoder = EncoderSpec(name="e", build=lambda **_: None)
    wrong: list[tuple[str, Any]] = [
        ("omnibench_datasets", replace(dataset, sizes=None)),  # type: ignore[arg-type]
        ("omnibench_datasets", replace(dataset, classes=["a", "b"])),  # type: ignore[arg-type]
        ("omnibench_datasets", replace(dataset, split_sizes=(1, 2))),  # type: ignore[arg-type]
        ("omnibench_datasets", replace(dataset, multi_label="no")),  # type: ignore[arg-type]
        ("omnibench_encoders", replace(encoder, embed_dim="768")),  # type: ignore[arg-type]
        ("omnibench_encoders", replace(encoder, name=7)),  # type: ignore[arg-type]
    ]
    for hook, card in wrong:
        made = SimpleNamespace(**{hook: hookimpl(lambda card=card: [card])})
        found = Registry.of(made)
        assert len(found.broken) == 1 and "was expected" in found.broken[0].error, card
        for rows in listing.TABLES.values():
            rows(found)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rest: {}[rest], "KeyError: 'x'"),
        (lambda rest: "a card", "it made str, not EncoderSpec"),
        (lambda rest: EncoderSpec(name=f"../{rest}", build=print), "is not allowed"),  # type: ignore[arg-type]
        (lambda rest: EncoderSpec(name=rest, build=print, depth="12"), "depth is '12'"),  # type: ignore[arg-type]
    ],
    ids=["raises", "no card", "a climbing name", "wrong types"],
)
def test_what_a_prefix_makes_of_a_reference_is_checked_too(make: Any, words: str) -> None:
    prefix = EncoderPrefix(prefix="acme", make=make)
    made = SimpleNamespace(__name__="made", omnibench_encoders=hookimpl(lambda: [prefix]))
    with pytest.raises(PluginError, match=r"omnibench:made cannot make acme:x") as caught:
        Registry.of(made).encoder("acme:x")
    assert words in str(caught.value)


def test_a_task_of_wrong_types_is_refused(toy: Any) -> None:
    for field, value in (("version", "1"), ("summary", None), ("recipes", ()), ("tunings", (1,))):
        task = type(toy.task)()
        setattr(task, field, value)
        made = SimpleNamespace(omnibench_tasks=hookimpl(lambda task=task: [task]))
        (broken,) = Registry.of(made).broken
        assert broken.error.startswith("task: "), field


def test_the_built_in_cards_are_of_the_types_they_declare() -> None:
    found = Registry.discover()
    assert not [b for b in found.broken if b.name.startswith("omnibench:")]
    assert len(found.encoders) > 15 and len(found.datasets) > 40


@pytest.mark.skipif(sys.platform == "win32", reason="chmod means little there")
def test_damaged_metadata_beside_good_ones_harm_nothing(tmp_path: Path, command: Command) -> None:
    for number, text in enumerate(("", "[omnibench\nx = y\n", "[omnibench]\n= =\n", "\x00\xff")):
        folder = tmp_path / "site" / f"tp_damaged{number}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "entry_points.txt").write_text(text)
    done = command("list", "encoders", "--json")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert any(row["encoder"] == "vit-small" for row in json.loads(done.stdout)["encoders"])
