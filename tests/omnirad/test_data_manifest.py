"""The list of the images that a pretraining saw, and its digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from random_images import save

from omnirad.data.files import open_folder
from omnirad.data.manifest import COLUMNS, csv_line, encoded, parsed, write_manifest
from omnirad.data.sources import Sample


def test_the_manifest_has_a_line_for_every_image_and_its_digest_follows_them(
    tmp_path: Path,
) -> None:
    import csv
    import hashlib

    folder = tmp_path / "images"
    for name in ("a.png", "b, with comma.png"):
        save(folder / name)
    table = tmp_path / "manifest.csv"
    digest = write_manifest(open_folder(folder), table)
    assert digest == hashlib.sha256(table.read_bytes()).hexdigest()
    rows = list(csv.DictReader(table.open()))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1]["id"] == "b, with comma.png"
    assert (rows[0]["height"], rows[0]["width"]) == ("9", "7")
    assert rows[0]["sha1"] == hashlib.sha1((folder / "a.png").read_bytes()).hexdigest()
    assert write_manifest(open_folder(folder), tmp_path / "again.csv") == digest
    save(folder / "a.png", np.zeros((9, 7), np.uint8))
    assert write_manifest(open_folder(folder), tmp_path / "changed.csv") != digest


def test_a_line_of_the_manifest_gives_back_its_sample_whatever_the_name() -> None:
    sample = Sample(id='a "b",\n\udcff.png', source="s", modality="CT", anatomy="", label="x")
    cells = [sample.id, "s", "CT", "", "x", "train", 1, 2, "00"]
    assert parsed(encoded(csv_line(cells))) == sample
