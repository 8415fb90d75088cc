"""Names of strangers (row 21 of the plan): refused, or harmless; no path is ever built from one."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from omnibench import console, hookimpl, planning, weights
from omnibench.cards import NAME, EncoderSpec
from omnibench.errors import OmnibenchError, PluginError, UsageError
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store

NAMES = [
    "../../x", "..", ".", "./x", "/etc/x", "/", "//x", "~", "~root/x", "-", "--help", "-rf",
    "C:\\x", "C:x", "\\\\host\\share", "a\\b", "con", "NUL", "aux.txt", "com1", "lpt1.json",
    "x" * 300, "x" * 65, "", " ", "\t", "a b", " a", "a ", "a.", "a..", ".hidden", "a\x00b",
    "a\nb", "a\r\nerror: forged", "\x1b[31mred", "\x1b]8;;http://x\x07link", "😀", "ａｂｃ",
    "e\u0301", "é", "\u202egpj.exe", "a\u200bb", "A", "VIT-SMALL", "İ", "ß", "%2e%2e%2f", "$(id)",
    "`id`", "a;b", "a|b", "*", "?", "<script>", "'", '"', "{}", "{0}", "%s", "a:b", "a/b", "\ud800",
]  # fmt: skip
CHARACTERS = st.one_of(
    st.characters(),
    st.sampled_from("./\\:~-_@ \x00\n\x1b\u202e"),
    st.sampled_from(string.ascii_lowercase),
)
HOSTILE = st.one_of(
    st.text(CHARACTERS, max_size=80),
    st.lists(st.sampled_from(["..", ".", "/", "\\", "x", "con", "@", "%2e"]), max_size=9).map(
        "".join
    ),
)
REGISTRY = Registry.discover()
DOORS = ("", "timm:", "open_clip:", "hf:", "omnibench/")


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, and a hub cache, that nobody may write to."""
    root = tmp_path_factory.mktemp("names")
    before, cache = Path.cwd(), constants.HF_HUB_CACHE
    constants.HF_HUB_CACHE = str(root / "hub")
    os.chdir(root)
    yield root
    os.chdir(before)
    constants.HF_HUB_CACHE = cache
    assert not tree(root), "a name made a file or a folder"


def ask(name: str, cache: Path) -> None:
    """Look a name up as encoder, dataset and task, and go on as far as the weights."""
    for prefix in DOORS:
        try:
            card = REGISTRY.encoder(prefix + name).card
            assert NAME.fullmatch(card.name)
            weights.resolve(card, file=None, random=False, offline=True, cache=cache)
        except OmnibenchError as error:
            assert "\x1b" not in console.plain(error)
    for look_up in (REGISTRY.dataset, REGISTRY.task):
        try:
            found = look_up(name)
        except OmnibenchError:
            continue
        assert NAME.fullmatch(found.card.name)


def offer(name: str) -> None:
    """Offer an encoder of that name: it is taken if it matches, else set aside with a reason."""
    card = EncoderSpec(name=name, build=lambda **_: None)  # type: ignore[arg-type]
    made = Registry.of(SimpleNamespace(omnibench_encoders=hookimpl(lambda: [card])))
    assert bool(made.encoders) == bool(NAME.fullmatch(name)), ascii(name)
    assert bool(made.broken) != bool(made.encoders)
    for line in made.not_loaded():
        assert len(line.splitlines()) == 1 and len(line) < 700


def label(name: str) -> None:
    """Give a label: the option is refused unless the name matches."""
    request = planning.RunRequest(
        encoders=["x"], task="x", datasets=["x"], weights=Path("w"), label=name,
        data_root=Path("d"), cache=Path("c"), results=Path("r"),
    )  # fmt: skip
    if NAME.fullmatch(name):
        planning._check_exclusive(request)
    else:
        with pytest.raises(UsageError, match="--label"):
            planning._check_exclusive(request)


def store(name: str, root: Path) -> None:
    """Store a record that has the name in every field a stranger can choose, and read it back."""
    identity = {
        "encoder": {"name": name}, "dataset": {"name": name, "limit": 0}, "tuning": name, "seed": 0,
        "task": {"name": name, "plugin": name, "version": 1, "recipe": name, "variant": name},
    }  # fmt: skip
    arrays = {"test_id": np.arange(2), "test_score": np.zeros(2)}
    record = RunRecord(
        identity=identity, status="complete", label=name, predictions=Store.prepare(arrays)
    )
    path = Store(root).save(record, arrays)
    Store(root).save_picture(record.run_id, b"png")
    assert Store(root).read(path).label == name


def check_store(root: Path) -> None:
    """Every path below the folder is made of digests and our own words."""
    for path in root.rglob("*"):
        for part in path.relative_to(root).parts:
            stem = part.partition(".")[0]
            digest = len(stem) in (2, 64) and set(stem) <= set(string.hexdigits)
            assert digest or part in ("runs", "pictures"), path


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_is_refused_or_harmless(name: str, empty: Path, tmp_path: Path) -> None:
    ask(name, tmp_path / "cache")
    offer(name)
    label(name)
    try:
        store(name, tmp_path / "results")
    except (OmnibenchError, UnicodeEncodeError):
        assert "\ud800" in name, "half a character is no text; anything else can be stored"
    else:
        check_store(tmp_path / "results")
    assert not (tmp_path / "cache").exists()


@settings(
    max_examples=500, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(name=HOSTILE)
def test_any_name_at_all_is_refused_or_harmless(name: str, empty: Path, tmp_path: Path) -> None:
    ask(name, tmp_path / "cache")
    offer(name)
    label(name)


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(name=HOSTILE.filter(lambda text: text.isprintable() or text.isascii()))
def test_any_name_at_all_is_stored_under_digests(name: str, tmp_path: Path) -> None:
    store(name, tmp_path / "results")
    check_store(tmp_path / "results")


def test_names_that_differ_by_case_are_other_files(tmp_path: Path) -> None:
    for name in ("vit-a", "VIT-A", "Vit-A"):
        store(name, tmp_path)
    assert len(list(Store(tmp_path).paths())) == 3
    assert len({str(path).lower() for path in Store(tmp_path).paths()}) == 3


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in ("", ".", "..") and not {"/", "\0", "\ud800"} & set(n)],
    ids=ascii,
)  # fmt: skip
def test_a_folder_of_any_name_gives_a_safe_name(name: str, tmp_path: Path) -> None:
    if len(os.fsencode(name)) > 255:
        pytest.skip("no file system takes the name")
    folder = tmp_path / name / "cats"
    folder.mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "1.png")
    card = REGISTRY.dataset(f"folder:{tmp_path / name}").card
    assert NAME.fullmatch(card.name)
    assert str(tmp_path) not in repr(replace(card, open=print))


def test_the_error_of_a_wrong_card_name_is_a_plugins() -> None:
    from omnibench.cards import check_name

    for name in ("con\n", "a" * 65, "Ⅳ", "x\u0000"):
        with pytest.raises(PluginError, match="is not allowed"):
            check_name(name, "encoder")
