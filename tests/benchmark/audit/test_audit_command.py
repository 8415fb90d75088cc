from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnibench import cli


@pytest.fixture
def call(tmp_path):
    """Run the command line in a process of its own."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "omnibench", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            check=False,
        )

    return run


@pytest.fixture
def folder(tmp_path, texture):
    """Class folders in splits; one test image is a mirrored copy from train, another a JPEG."""
    images = {f"train/a/secret{i}.png": texture(i) for i in range(4)}
    images |= {f"train/b/secret{i}.png": texture(10 + i) for i in range(4)}
    images |= {"val/a/x.png": texture(20), "val/b/y.png": texture(21)}
    images |= {"test/a/x.png": texture(2)[:, ::-1], "test/b/y.jpg": texture(12)}
    images |= {"test/a/z.png": texture(30)}
    for name, image in images.items():
        path = tmp_path / "my images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(path)
    return tmp_path / "my images"


def test_a_folder_is_audited_and_told_without_names_of_files(call, folder, tmp_path):
    done = call("audit", f"folder:{folder}", "--out", "report")
    assert done.returncode == 0, done.stderr
    assert "test images seen earlier" in done.stdout and "2 of 3" in done.stdout
    document = json.loads((tmp_path / "report/audit.json").read_text())
    kinds = {(p["kind"], p["second"]["split"]) for p in document["pairs"]}
    assert kinds == {("turned", "test"), ("near", "test")}
    written = (tmp_path / "report/audit.html").read_text() + json.dumps(document)
    assert "secret" not in written and str(folder) not in written
    assert "This page contains images" in written


def test_json_goes_to_stdout_and_is_what_is_written(call, folder, tmp_path):
    done = call("audit", f"folder:{folder}", "--json")
    (file,) = tmp_path.glob("audit/folder-my-images-*/audit.json")
    assert json.loads(done.stdout) == json.loads(file.read_text())


def test_a_run_leaves_out_what_clean_names(call, folder):
    done = call("audit", f"clean:folder:{folder}", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["dataset"].startswith("folder-my-images-")
    assert document["dataset"].endswith("-clean")
    assert document["pairs"] == [] and document["splits"]["test"]["samples"] == 1
    assert "2 of 3 test images" in document["facts"]["clean"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("bussi",), 2, "Did you mean busi"),
        (("clean:bussi",), 2, "Did you mean busi"),
        (("claen:busi",), 2, "Did you mean clean"),
        (("busi-clean",), 2, "Did you mean clean:busi?"),
        (("busi", "--set", "source_siz=256"), 2, "Did you mean source_size"),
        (("busi", "--set", "source_size=64"), 2, "published at 128, 256, 512 pixels, not 64"),
        (("busi", "--set", "lr"), 2, "field=value"),
        (("busi", "--limit", "1"), 2, "limit"),
        (("busi", "--offline", "--data-root", "nowhere"), 5, "--offline forbids"),
        (("mni152-plane", "--out", "/proc/none"), 5, "--out DIR"),
    ],
)
def test_wrong_input_gives_one_message_and_its_exit_code(
    monkeypatch, capsys, tmp_path, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["omnibench", "audit", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == code and message in capsys.readouterr().err


UNREADABLE = """
import numpy as np
from omnibench import DatasetSpec, IntegrityError, hookimpl

class Split:
    groups = None
    def __init__(self, first): self.first = first
    ids = property(lambda self: np.arange(self.first, self.first + 3))
    def __len__(self): return 3
    def image(self, index):
        if self.first + index == 4:
            raise IntegrityError("/home/someone/secret.png is damaged")
        return np.random.default_rng(self.first + index).integers(0, 255, (40, 40), dtype=np.uint8)
    def target(self, index): return index % 2

class Dataset:
    name, kind, classes, digest, facts = "torn", "labels", ("a", "b"), "ab" * 32, {}
    def split(self, name): return Split({"train": 0, "val": 3, "test": 6}[name])

@hookimpl
def omnibench_datasets():
    return [DatasetSpec(name="torn", kind="labels", open=lambda access: Dataset())]
"""


def test_images_that_cannot_be_read_end_with_four_after_the_report(call, tmp_path):
    Path(tmp_path / "torn.py").write_text(UNREADABLE)
    done = call("audit", "torn", "--plugin", "torn.py")
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert "1 images of torn cannot be used" in done.stderr
    assert "unreadable images in val" in done.stdout
    document = json.loads((tmp_path / "audit/torn/audit.json").read_text())
    assert document["splits"]["val"]["unreadable"] == [4]
    assert "secret" not in (tmp_path / "audit/torn/audit.html").read_text()


def test_asking_for_help_imports_no_numpy(tmp_path):
    program = (
        "import sys\nfrom omnibench.cli import main\nsys.argv = ['omnibench', 'audit', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
