"""The N-th call to the disk fails while something is written (statistics.md, section 5, row 2)."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from faulty_disk import FaultyDisk, every_fault

from omnibench.errors import SetupError
from omnibench_leaderboard import commands_output
from omnibench_leaderboard.cache import Cache
from omnibench_leaderboard.collect import collect
from omnibench_leaderboard.manifest import MANIFEST, changes, seal
from omnibench_leaderboard.outputs import folder
from omnibench_leaderboard.outputs.publish import ARCHIVE, write_archive
from omnibench_leaderboard.verify import verify

OLD = {"index.html": b"<p>old</p>", "board.json": b"{}"}


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("before", [None, OLD])
def test_a_site_is_the_old_one_or_the_new_one(tmp_path: Path, before: dict | None) -> None:
    source = tmp_path / "record.json"
    source.write_bytes(b"{}" * 100)
    new = {"index.html": b"<p>new</p>", "records/ab/record.json": source, "board.json": b"{}"}
    expected = {**new, "records/ab/record.json": source.read_bytes()}
    for number, disk in enumerate(every_fault()):
        parent = tmp_path / str(number)
        out = parent / "site"
        if before:
            folder.replace(out, before)
        told = ""
        with disk:
            try:
                folder.replace(out, new)
            except SetupError as error:
                told = str(error)
        assert contents(out) == (expected if not told else before or {}), disk
        if told:
            assert disk.broke and str(out) in told and os.strerror(disk.code) in told
        else:
            assert out.is_dir()
        for stray in parent.glob(".*"):
            os.utime(stray, (0, 0))
        folder.replace(out, new)
        assert contents(out) == expected and list(parent.iterdir()) == [out], disk


def test_what_a_killed_build_left_is_removed_by_the_next_after_an_hour(tmp_path: Path) -> None:
    out = tmp_path / "site [1]"
    folder.replace(out, OLD)
    ages = {".site [1]-building-abcd": 3700, ".site [1]-building-efgh": 60, ".site [1]-mine": 9999}
    for name, age in ages.items():
        (tmp_path / name / "inside").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    folder.replace(out, OLD)
    left = {path.name for path in tmp_path.iterdir()} - {out.name}
    assert left == {".site [1]-building-efgh", ".site [1]-mine"}


def test_an_answer_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    question, answer = {"what": "mean"}, {"value": 0.1, "text": "naïve"}
    for number, disk in enumerate(every_fault()):
        cache = Cache(tmp_path / str(number))
        with disk:
            cache.put(question, answer)
            assert cache.get(question) in (None, answer), disk
        assert cache.get(question) in (None, answer), disk
        assert disk.broke or cache.get(question) == answer
        cache.put(question, answer)
        assert cache.get(question) == answer
        whole = [path for path in cache.root.rglob("*") if path.is_file()]
        assert len(whole) == 1 or disk.calls[disk.fail_at - 1] == "unlink", disk


def test_a_manifest_is_the_old_one_or_the_new_one(results: Path, add) -> None:
    add()
    seal(results)
    old = (results / MANIFEST).read_bytes()
    add("vit-b")
    for disk in every_fault():
        (results / MANIFEST).write_bytes(old)
        with disk, suppress(SetupError):
            seal(results)
        try:
            whole = changes(results) == []
        except SetupError:
            whole = False
        assert whole or (results / MANIFEST).read_bytes() == old, disk
        assert disk.broke or whole
        seal(results)
        assert changes(results) == []
        left = [path.name for path in results.glob(".*")]
        assert not left or disk.calls[disk.fail_at - 1] == "unlink", disk


def test_an_archive_is_whole_or_an_error(results: Path, tmp_path: Path, add, tasks) -> None:
    add()
    runs = collect([results], tasks).runs
    (tmp_path / "undisturbed").mkdir()
    expected = write_archive(runs, tmp_path / "undisturbed").read_bytes()
    for number, disk in enumerate(every_fault()):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        made = None
        with disk, suppress(OSError, SetupError):
            made = write_archive(runs, scratch)
        assert (made is not None and made.read_bytes() == expected) or disk.broke, disk
        assert made is None or made.name == ARCHIVE


@pytest.mark.parametrize("command", ["build", "publish"])
def test_a_full_disk_ends_a_command_with_exit_code_5(
    results: Path, tmp_path: Path, add, tasks, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each of some calls on, all writes fail; the folder stays what it was."""
    monkeypatch.setattr(commands_output, "discovered", lambda plugins: tasks)
    monkeypatch.setattr(commands_output, "answers", lambda: Cache(tmp_path / "answers"))
    add("vit-a"), add("vit-b")
    call = getattr(commands_output, command)
    out = tmp_path / "out" / "public"

    def run(disk: FaultyDisk) -> SetupError | None:
        with disk:
            found = CliRunner().invoke(call, [str(results), "--out", str(out)])
        assert found.exception is None or isinstance(found.exception, SetupError), disk
        return found.exception

    assert run(FaultyDisk()) is None
    old = contents(out)
    calls = FaultyDisk()
    assert run(calls) is None
    for number in range(1, len(calls.calls), max(1, len(calls.calls) // 5)):
        told = run(FaultyDisk(number, errno.ENOSPC, lasting=True))
        assert contents(out) == old and list(out.parent.iterdir()) == [out]
        assert told is None or (told.exit_code == 5 and "No space left on device" in str(told))
    assert verify([results], tasks).exit_code == 0
