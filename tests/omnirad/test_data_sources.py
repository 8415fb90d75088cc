"""Where pretraining images come from: texts that name sources, and mixtures of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from random_images import save

from omnirad.data.files import open_folder
from omnirad.data.manifest import write_manifest
from omnirad.data.mixture import Mixture
from omnirad.data.mni152 import open_mni152
from omnirad.data.sources import stratum_codes
from omnirad.data.specs import DataSpec, open_sources, parse
from omnirad.errors import OmniradError, UsageError


def test_texts_name_a_kind_and_a_path() -> None:
    assert parse("folder:a:b") == DataSpec("folder", Path("a:b"))
    assert parse("mni152") == DataSpec("mni152", None)


@pytest.mark.parametrize(
    ("texts", "splits", "text"),
    [
        (["foldr:x"], ["train"], r"no kind of data 'foldr'.*Did you mean folder\?"),
        (["images"], ["train"], r"Write KIND:PATH with KIND one of folder, dicom, npz"),
        (["npz:"], ["train"], r"names no path; write npz:PATH"),
        (["mni152:x"], ["train"], "mni152 takes no path"),
        (["mni152", "mni152"], ["train"], "named more than once"),
        ([], ["train"], "no data is named"),
        (["mni152"], ["valid"], r"splits \['valid'\]: name one or more of train, val, test"),
        (["mni152"], [], "name one or more"),
    ],
)
def test_texts_that_make_no_sense_are_refused(
    texts: list[str], splits: list[str], text: str
) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        open_sources(texts, splits)
    assert isinstance(caught.value, OmniradError) and caught.value.exit_code == 2


def test_parsing_texts_imports_nothing_heavy() -> None:
    code = (
        "import sys; from omnirad.data.specs import parse; parse('npz:x');"
        "print(sorted({'numpy', 'torch', 'pandas', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_mixture_lines_sources_up_and_tells_equal_names_apart(tmp_path: Path) -> None:
    for folder, count in (("x/images", 2), ("y/images", 1), ("z", 3)):
        for number in range(count):
            save(tmp_path / folder / f"{number}.png")
    mixture = open_sources([f"folder:{tmp_path / name}" for name in ("x/images", "y/images", "z")])
    assert isinstance(mixture, Mixture)
    assert (len(mixture), mixture.name) == (6, "images+images#2+z")
    assert [mixture.sample(i).source for i in range(6)] == ["images"] * 2 + ["images#2"] + ["z"] * 3
    assert (mixture.image(5) == open_folder(tmp_path / "z").image(2)).all()
    codes, names = stratum_codes(mixture)
    assert names == ("images", "images#2", "z")
    assert codes.tolist() == [0, 0, 1, 2, 2, 2]
    with pytest.raises(IndexError):
        mixture.image(6)


def test_the_templates_training_slices_are_those_of_the_benchmark() -> None:
    from omnibench_plugins.datasets import mni152_slices

    volume = mni152_slices.read_volume()
    theirs = {
        (s.axis, s.position, s.split)
        for axis in range(3)
        for s in mni152_slices.slices(volume, axis)
    }
    ours = open_mni152(("train", "val", "test"))
    assert {(s.axis, s.position, s.split) for s in ours.slices} == theirs
    train = open_mni152()
    assert len(train) == 180 and {s.split for s in train.slices} == {"train"}
    axial = mni152_slices.tissue_splits()["train"]
    assert [train.sample(i).id for i in range(60)] == [f"axial/{p}" for p in axial.ids]
    assert all((train.image(i) == axial.image(i)).all() for i in range(60))


def test_the_real_images_at_hand_open_as_one_mixture(test_data: Path, tmp_path: Path) -> None:
    data = test_data / "data"
    source = open_sources(
        [
            f"npz:{data / 'medmnist' / 'pneumoniamnist.npz'}",
            f"npz:{data / 'medmnist' / 'breastmnist_64.npz'}",
            f"folder:{data / 'hannover_cxr'}",
            f"folder:{data / 'roco_ccby'}",
            "mni152",
        ]
    )
    # pretraining.md section 11: 4708 + 546 + 243 + 900 training images; 180 slices of MNI152.
    assert len(source) == 4708 + 546 + 243 + 900 + 180
    assert len(write_manifest(source, tmp_path / "m.csv")) == 64
