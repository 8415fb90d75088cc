"""`leaderboard build` and `publish`: whole folders, records others can verify, nothing private."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnibench.errors import SetupError
from omnibench.store import Store
from omnibench_leaderboard import commands
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.outputs import folder, publish
from omnibench_leaderboard.verify import verify

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def command(monkeypatch, tmp_path, tasks):
    """Run `omnibench leaderboard …` with the built-in tasks; errors come out as they are."""
    monkeypatch.setattr("omnibench_leaderboard.commands_output.discovered", lambda plugins: tasks)
    kept = Cache(tmp_path / "cache")
    monkeypatch.setattr("omnibench_leaderboard.commands_output.answers", lambda: kept)

    def run(*arguments):
        done = CliRunner().invoke(commands.leaderboard, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.fixture
def grid(add, results):
    """Records of two encoders on two datasets."""
    for encoder in ("vit-a", "vit-b"):
        for dataset in ("breastmnist", "pneumoniamnist"):
            for seed in range(3):
                add(encoder, seed, dataset, skill=2.0 if encoder == "vit-b" else 1.0)
    return results


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def private(record):
    identity = record.identity
    dataset = {**identity["dataset"], "name": "folder-ward-1a2b3c4d"}
    facts = {**record.dataset, "classes": ["st-elsewhere-positive", "negative"]}
    return {"identity": {**identity, "dataset": dataset}, "dataset": facts}


def test_build_writes_a_site_and_says_where(command, grid, tmp_path):
    told = command("build", grid, "--out", tmp_path / "site", "--reference", "vit-a")
    assert "2 encoders, 2 headline columns" in told
    assert "Reference, named before" in (tmp_path / "site/index.html").read_text()
    assert "verdict" in (tmp_path / "site/tables.md").read_text()


def test_building_twice_replaces_the_folder_with_the_same_bytes(command, grid, tmp_path):
    command("publish", grid, "--out", tmp_path / "a")
    first = contents(tmp_path / "a")
    (tmp_path / "a/pictures").mkdir(exist_ok=True)
    (tmp_path / "a/pictures/old.png").write_bytes(PNG)
    command("publish", grid, "--out", tmp_path / "a")
    assert contents(tmp_path / "a") == first
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".a")] == []


def test_the_archive_verifies_elsewhere(command, grid, tmp_path, tasks):
    told = command("publish", grid, "--out", tmp_path / "public")
    assert "records: 12 runs" in told
    with zipfile.ZipFile(tmp_path / "public/records.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    records = tmp_path / "elsewhere/records"
    verdict = verify([records], tasks)
    assert verdict.exit_code == 0 and len(verdict.collection.runs) == 12
    command("publish", records, "--out", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "public")


def test_a_changed_record_in_the_archive_is_found(command, grid, tmp_path, tasks):
    command("publish", grid, "--out", tmp_path / "public")
    with zipfile.ZipFile(tmp_path / "public/records.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    path = next((tmp_path / "elsewhere/records/runs").rglob("*.json"))
    path.write_text(path.read_text().replace("vit-", "vip-", 1))
    verdict = verify([tmp_path / "elsewhere/records"], tasks)
    assert verdict.exit_code == 4 and any(path.name in p.path for p in verdict.problems)


def test_every_published_cell_links_to_records_that_are_there(command, grid, tmp_path):
    out = tmp_path / "public"
    command("publish", grid, "--out", out)
    found = 0
    for page in (out / "datasets").iterdir():
        for target in re.findall(r'href="(\.\./records/[^"]+)"', page.read_text()):
            record = json.loads((page.parent / target).read_text())
            assert record["status"] == "complete"
            found += 1
    assert found == 12


def test_the_folder_is_ready_for_pages_and_for_a_static_space(command, grid, tmp_path):
    out = tmp_path / "public"
    command("publish", grid, "--out", out)
    assert (out / ".nojekyll").read_bytes() == b""
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert fields["sdk"] == '"static"' and fields["app_file"] == '"index.html"'
    assert "(12 of 12 runs)" in text and "omnibench verify records" in text
    assert "cff-version: 1.2.0" in (out / "CITATION.cff").read_text()


def test_private_data_leave_nothing_but_their_numbers(command, add, grid, results, tmp_path):
    for encoder in ("vit-a", "vit-b"):
        for seed in range(3):
            made = add(encoder, seed, "ward", folder=tmp_path / "drawn")
            arrays = Store(tmp_path / "drawn").predictions(made)
            changed = dataclasses.replace(made, **private(made))
            Store(results).save(changed, arrays)
            Store(results).save_picture(changed.run_id, PNG + b"private")
    told = command("publish", results, "--out", tmp_path / "public")
    assert "not published: the records of 6 runs of folder: data" in told
    published = contents(tmp_path / "public")
    assert b"folder-ward-1a2b3c4d" in published["index.html"]
    with zipfile.ZipFile(tmp_path / "public/records.zip") as archive:
        names = archive.namelist()
        everything = b"".join(map(archive.read, names)) + b"".join(published.values())
    assert sum(name.endswith(".json") for name in names) == 12 + 1
    for secret in (b"st-elsewhere", PNG, str(tmp_path).encode(), b'folder-ward-1a2b3c4d","plugin'):
        assert secret not in everything


def test_pictures_are_published_only_under_open_licences(command, add, results, tmp_path):
    cases = {
        "open": {"licence": "CC BY 4.0", "facts": {}},
        "closed": {"licence": "CC BY-NC 4.0", "facts": {}},
        "unverified": {"licence": "CC BY 4.0", "facts": {"unverified": "true"}},
    }
    for name, facts in cases.items():
        for encoder in ("vit-a", "vit-b"):
            made = add(encoder, 0, name)
            changed = dataclasses.replace(made, dataset={**made.dataset, **facts})
            arrays = Store(results).predictions(made)
            for path in Store(results).folder(made.run_id).glob("*.json"):
                path.unlink()
            Store(results).save(changed, arrays)
            Store(results).save_picture(changed.run_id, PNG + name.encode())
    command("publish", results, "--out", tmp_path / "public")
    shown = {path.read_bytes() for path in (tmp_path / "public/pictures").iterdir()}
    assert shown == {PNG + b"open"}


@pytest.mark.parametrize(
    ("licence", "is_open"),
    [
        ("CC BY 4.0", True),
        ("CC-BY-4.0", True),
        ("CC0: Public Domain", True),
        ("CC BY-SA 4.0", True),
        ("CC BY-NC 4.0", False),
        ("CC BY-NC-SA 4.0", False),
        ("CC BY-ND 4.0", False),
        ("CC BY or CC BY-NC, image by image; hub: CC BY-NC-SA 4.0", False),
        ("the owner's", False),
        ("Does not have copyright information", False),
    ],
)
def test_open_licences_are_told_from_others(licence, is_open):
    assert (publish.OPEN.fullmatch(licence) is not None) == is_open


def test_a_folder_with_other_files_is_not_replaced(command, grid, tmp_path):
    out = tmp_path / "work"
    out.mkdir()
    (out / "README.md").write_text("mine")
    with pytest.raises(Exception, match="holds 1 files or folders that no build wrote"):
        command("build", grid, "--out", out)
    assert (out / "README.md").read_text() == "mine"


def test_a_failure_leaves_the_old_site(monkeypatch, tmp_path):
    out = tmp_path / "site"
    folder.replace(out, {"board.json": b"old"})

    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SetupError, match="No space left on device"):
        folder.replace(out, {"board.json": b"new"})
    assert contents(out) == {"board.json": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_place_that_cannot_be_written_is_told_before_results_are_read(command, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="could not be written"):
        command("build", tmp_path / "nowhere", "--out", tmp_path / "file" / "site")


def test_no_results_are_a_clear_error(command, tmp_path):
    with pytest.raises(SetupError, match="empty"):
        (tmp_path / "empty").mkdir()
        command("build", tmp_path / "empty", "--out", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_asking_for_help_imports_nothing_heavy():
    program = (
        "import sys; from omnibench_leaderboard.commands import leaderboard\n"
        "try: leaderboard(['build', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'jinja2', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_outputs_never_import_torch():
    program = (
        "import sys\n"
        "import omnibench_leaderboard.outputs.publish\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
