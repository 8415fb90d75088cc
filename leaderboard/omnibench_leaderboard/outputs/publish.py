"""A folder for GitHub Pages or a static Hugging Face Space: the site, and records to check it by.

Nothing of `folder:` data leaves the machine but the numbers on the board: neither records, which
hold class names and, for captions, texts, nor pictures.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnibench.store import Store
from omnibench_leaderboard import manifest
from omnibench_leaderboard.board import Board
from omnibench_leaderboard.outputs import citation, inert
from omnibench_leaderboard.outputs.files import files
from omnibench_leaderboard.outputs.site.pages import TITLE
from omnibench_leaderboard.runs import Collection, Run

ARCHIVE = "records.zip"
DOWNLOADS = (ARCHIVE, "references.bib", "CITATION.cff")
# A sheet is a changed image, shown to anyone: NC and ND licences are not enough.
OPEN = re.compile(r"CC0(: Public Domain)?|CC[ -]BY(-SA)?([ -]\d\.\d)?\.?", re.IGNORECASE)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip knows

README = """\
A static site; open `index.html`. It asks nothing of any other server.

To check it: `unzip records.zip` ({shown} of {total} runs), then `omnibench verify records` computes
every metric again from predictions, and `omnibench leaderboard build records` makes these pages.

To cite it: `CITATION.cff`, and the papers of encoders and datasets in `references.bib`. The licences
of weights and data stand on the methods page."""


@dataclass(frozen=True)
class Bundle:
    """What is published.

    Args:
        files: Bytes, or the file to copy, by path in the folder.
        runs: Number of runs whose records are in the archive.
        private: Number of runs of `folder:` data, whose records stay here.
        pictures: Number of pictures.
    """

    files: dict[str, bytes | Path]
    runs: int
    private: int
    pictures: int


def bundle(board: Board, collection: Collection, scratch: Path) -> Bundle:
    """Gather everything to publish.

    Args:
        board: What the site shows.
        collection: The runs that it was built from.
        scratch: An empty folder for the archive.
    """
    shown = [run for run in collection.runs if not _is_private(run)]
    sheets = {run.place: path for run in shown if (path := _sheet(run)) is not None}
    names = {place: f"pictures/{path.name}" for place, path in sheets.items()}
    public = frozenset(run.place for run in shown)
    site = files(board, DOWNLOADS, records=public, sheets=names)
    archive = write_archive(shown, scratch)
    return Bundle(
        files={
            **site,
            **{f"records/{run.place}": run.root / run.place for run in shown},
            **{names[place]: path for place, path in sheets.items()},
            ARCHIVE: archive,
            "references.bib": citation.bibtex(board).encode(),
            "CITATION.cff": citation.cff(board, TITLE).encode(),
            "README.md": _readme(board, len(shown), len(collection.runs)).encode(),
            # GitHub would else run Jekyll over the pages.
            ".nojekyll": b"",
        },
        runs=len(shown),
        private=len(collection.runs) - len(shown),
        pictures=len(sheets),
    )


def write_archive(runs: Sequence[Run], scratch: Path) -> Path:
    """Write records and predictions as one sealed results folder; equal runs, equal bytes.

    Args:
        runs: Complete runs.
        scratch: An empty folder.
    """
    folder, path = scratch / "records", scratch / ARCHIVE
    for name, source in _contents(runs):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    manifest.seal(folder)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            entry = zipfile.ZipInfo(file.relative_to(scratch).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16
            # Predictions are packed already.
            packed = file.suffix == ".npz"
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return path


def _contents(runs: Iterable[Run]) -> Iterable[tuple[str, Path]]:
    for run in runs:
        stated = (run.record.predictions or {}).get("sha256")
        for path in (Path(run.place), Path(run.place).with_name(f"{stated}.npz")):
            yield path.as_posix(), run.root / path


def _is_private(run: Run) -> bool:
    return str(run.record.identity["dataset"]["name"]).startswith("folder-")


def _sheet(run: Run) -> Path | None:
    """Return a run's picture if anyone may see it: an open licence, and the published files."""
    facts = run.record.dataset
    licence = str(facts.get("licence", ""))
    unverified = bool((facts.get("facts") or {}).get("unverified"))
    path = Store(run.root).picture(run.run_id)
    if unverified or OPEN.fullmatch(licence) is None or not path.is_file():
        return None
    return path


def _readme(board: Board, shown: int, total: int) -> str:
    restricted = [inert.markdown(e.label) for e in board.encoders if e.commercial is False]
    head = {"title": TITLE, "sdk": "static", "app_file": "index.html", "pinned": False}
    front = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())
    told = [README.format(shown=shown, total=total)]
    if shown < total:
        told.append(f"{total - shown} runs are of private images: their records are not published.")
    if restricted:
        told.append(f"Weights for non-commercial use only: {', '.join(restricted)}.")
    return f"---\n{front}\n---\n\n# {TITLE}\n\n" + "\n\n".join(told) + "\n"
