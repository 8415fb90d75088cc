"""The README's promises run: its plugin example is packaged, installed and used word for word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

README = (Path(__file__).parents[1] / "README.md").read_text()
SETUPTOOLS = (
    '\n[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
)
BROKEN = (
    '[project]\nname = "tp-broken"\nversion = "1"\nentry-points.omnibench.broken = "tp_broken"\n'
)


def snippet(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


def install(folder: Path, site: Path) -> None:
    # From a bare folder, without network: neither dependencies nor an isolated build.
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--target",
            str(site),
            str(folder),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed third-party plugins: the README's, and one that cannot be imported."""
    root = tmp_path_factory.mktemp("third-party")
    good, broken, target = root / "acme", root / "broken", root / "site"
    good.mkdir()
    (good / "acme_omnibench.py").write_text(snippet("python"))
    (good / "pyproject.toml").write_text(snippet("toml") + SETUPTOOLS)
    broken.mkdir()
    (broken / "tp_broken.py").write_text("import not_there\n")
    (broken / "pyproject.toml").write_text(BROKEN + SETUPTOOLS)
    install(good, target)
    install(broken, target)
    return target


def call(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omnibench", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder / "cache")},
        check=False,
    )


def test_a_dozen_lines_make_an_encoder_plugin_and_a_broken_one_harms_nothing(site, tmp_path):
    lines = [line for text in (snippet("python"), snippet("toml")) for line in text.splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= 12
    done = call(site, tmp_path, "list", "--json")
    tables = json.loads(done.stdout)
    (row,) = [row for row in tables["encoders"] if row["encoder"] == "acme-vit"]
    assert row["from"] == "acme-omnibench"
    states = {row["plugin"]: row["state"] for row in tables["plugins"]}
    assert "No module named 'not_there'" in states["tp-broken:broken"]
    assert states["omnibench:encoders"] == "loaded"


def test_the_plugins_encoder_runs(site, tmp_path):
    done = call(
        site,
        tmp_path,
        "run",
        "--encoder",
        "acme-vit",
        "--random-weights",
        "--task",
        "knn",
        "--dataset",
        "mni152-tissue",
        "--recipe",
        "quick",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)
    assert cell["label"] == "acme-vit+random" and cell["dataset"] == "mni152-plane"


@pytest.mark.parametrize(
    "line", re.findall(r"^omnibench run (.*?)\s*(?:#.*)?$", README, re.MULTILINE)
)
def test_every_run_in_the_readme_is_understood(line, tmp_path):
    # Offline and without data each ends with what is missing, never with a wrong name.
    for name, value in (("a", 40), ("b", 200)):
        (tmp_path / "my-images" / name).mkdir(parents=True)
        for number in range(10):
            grey = Image.new("L", (32, 32), value + number)
            grey.save(tmp_path / "my-images" / name / f"{number}.png")
    done = subprocess.run(
        [sys.executable, "-m", "omnibench", "run", *line.split(), "--offline"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "XDG_CACHE_HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "OMNIBENCH_DATA": str(tmp_path / "data"),
        },
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
