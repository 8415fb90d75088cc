"""`omnibench plugin new`: what it writes works as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from omnibench.cli import cli
from omnibench.errors import OmnibenchError, UsageError


def new(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["plugin", "new", *map(str, arguments)])


def in_its_folder(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_new_plugin_passes_its_own_tests_and_is_found_when_installed(tmp_path):
    done = new("acme-vit", "--into", tmp_path)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "acme-vit"
    assert f"pip install -e {folder}" in done.output
    tests = in_its_folder(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "1 passed" in tests.stdout, tests.stdout + tests.stderr
    # as pip would leave it: metadata beside the package
    metadata = folder / "acme_vit-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vit\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[omnibench]\nacme-vit = acme_vit\n")
    listed = in_its_folder(folder, "-m", "omnibench", "list", "encoders", "--json")
    assert '"acme-vit"' in listed.stdout
    run = ["run", "--encoder", "acme-vit", "--task", "knn", "--dataset", "mni152-tissue"]
    refused = in_its_folder(folder, "-m", "omnibench", *run, "--offline")
    assert refused.returncode == 5 and "owner/acme-vit" in refused.stderr


@pytest.mark.parametrize("name", ["Acme", "../acme", "9lives", "class", "a" * 65, "acme vit"])
def test_names_that_no_package_can_have_are_refused(tmp_path, name):
    refused(new(name, "--into", tmp_path), "cannot name a plugin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["acme-", "acme.", "torch", "numpy", "omnibench", "json", "tests"])
def test_names_that_pip_refuses_or_that_hide_a_package_are_refused(tmp_path, name):
    refused(new(name, "--into", tmp_path), "cannot name a plugin: ")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "acme").mkdir()
    refused(new("acme", "--into", tmp_path), "exists; choose another name")
    assert not list((tmp_path / "acme").iterdir())


def refused(result: Result, match: str) -> None:
    assert isinstance(result.exception, OmnibenchError)
    with pytest.raises(UsageError, match=match):
        raise result.exception
