"""The promises of the architecture: the face is complete, hooks are documented, starts are light."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import omnibench
from omnibench import hookspecs

ROOT = Path(__file__).parents[1]
HOOKS = [name for name in vars(hookspecs) if name.startswith("omnibench_")]


def test_the_face_is_sorted_and_every_name_is_there():
    names = sorted(n for n in omnibench.__all__ if n[0].isupper())
    assert [*names, "hookimpl"] == omnibench.__all__
    assert all(hasattr(omnibench, name) for name in omnibench.__all__)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_arguments(hook):
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in (ROOT / "benchmark/README.md").read_text()


def test_importing_the_face_imports_neither_torch_nor_numpy():
    program = "import omnibench, sys; print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_tests_have_no_package_files_that_would_shadow_the_rooms():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_machine_path_and_no_stub_word_is_in_the_sources():
    words = re.compile(
        r"raise NotImplementedError|\bTODO\b|\bFIXME\b|\bXXX\b|/(?:home|root|work)/\w"
    )
    for room in ("benchmark", "plugins", "omnirad", "leaderboard"):
        for file in (ROOT / room).rglob("*.py"):
            assert not words.search(file.read_text()), file


def test_every_room_has_a_readme_that_the_front_page_links():
    front = (ROOT / "README.md").read_text()
    for room in ("benchmark", "plugins", "omnirad", "leaderboard"):
        assert (ROOT / room / "README.md").is_file() and f"({room}/README.md" in front
