"""Trains `omnirad-nano` again, from images and DINOv2-S to the files that ship.

Three seeds are distilled, the one with the best validation score is kept, and only then are test
images read. What is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from omnirad import console
from omnirad.atomic import written
from omnirad.distil_job import run
from omnirad.errors import OmniradError, SetupError
from omnirad.evaluation import evaluate
from omnirad.exporting import export
from omnirad.job import ENCODER, LOG
from omnirad.knn_scores import Interval
from omnirad.model import create_model
from omnirad.progress import Progress
from omnirad.tools.concepts import probe_concepts

logger = logging.getLogger("omnirad.tools.nano")

SEEDS = (0, 1, 2)
LABELLED = {
    "pneumoniamnist": "npz:{root}/medmnist/pneumoniamnist.npz",
    "breastmnist": "npz:{root}/medmnist/breastmnist_64.npz",
}
# BUSI is left out: BreastMNIST's test images are among its training images.
UNLABELLED = ("folder:{root}/hannover_cxr/images", "folder:{root}/roco_ccby", "mni152")
ROCO = "roco_ccby"
CHOSEN, METRICS = "nano", "metrics.json"
LICENCE = "apache-2.0"

Table = dict[str, dict[str, Interval]]


def build(root: Path, teacher: str, out: Path, progress: Progress) -> Path:
    """Train, choose, test and collect the files.

    Args:
        root: Folder with `medmnist/`, `hannover_cxr/` and `roco_ccby/`.
        teacher: Weights of DINOv2-S, as in `create_model`.
        out: Folder of all runs.
        progress: Where to report.

    Returns:
        The folder that ships: weights, config, log and metrics.

    Raises:
        SetupError: If data are missing.
        OmniradError: If a run fails.
    """
    labelled = {name: text.format(root=root) for name, text in LABELLED.items()}
    data = (*labelled.values(), *(text.format(root=root) for text in UNLABELLED))
    require(root)
    candidates = {seed: _trained(seed, teacher, data, out, progress) for seed in SEEDS}
    validation = {s: _tables(f, labelled, "val", progress) for s, f in candidates.items()}
    points = {seed: score(tables) for seed, tables in validation.items()}
    best = max(points, key=lambda seed: points[seed])
    logger.info("validation scores %s: seed %d is kept", points, best)
    test = {seed: _tables(f, labelled, "test", progress) for seed, f in candidates.items()}
    concepts = {seed: probe_concepts(f, root / ROCO, progress) for seed, f in candidates.items()}
    target = out / CHOSEN
    shutil.copytree(candidates[best], target, dirs_exist_ok=True)
    shutil.copy(out / f"seed-{best}" / LOG, target / LOG)
    found = {
        "seed": best,
        "validation_scores": points,
        "validation": validation,
        "test": test,
        "roco_concepts": concepts,
    }
    with written(target / METRICS, "w") as stream:
        json.dump(rounded(found), stream, indent=1)
    return target


def require(root: Path) -> None:
    """Raise `SetupError` unless all data are there."""
    wanted = [
        text.format(root=root).split(":")[1] for text in (*LABELLED.values(), *UNLABELLED[:2])
    ]
    absent = [path for path in wanted if not Path(path).exists()]
    if absent:
        raise SetupError(f"missing: {', '.join(absent)}; see the card of omnirad-nano for sources")


def score(tables: dict[str, Table]) -> float:
    """Return the mean of accuracy and AUC over both sets, by which a seed is chosen."""
    rows = [table["weights"] for table in tables.values()]
    return sum(row["accuracy"].value + row["auc"].value for row in rows) / (2 * len(rows))


def rounded(value: Any) -> Any:
    """Return JSON-ready content with four decimals."""
    if isinstance(value, Interval):
        return [round(number, 4) for number in value]
    if isinstance(value, dict):
        return {str(name): rounded(part) for name, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _trained(seed: int, teacher: str, data: tuple[str, ...], out: Path, progress: Progress) -> Path:
    """Return the folder of a seed's encoder in half precision, trained if it is not there."""
    folder, half = out / f"seed-{seed}", out / f"seed-{seed}-fp16"
    if not (folder / ENCODER).exists():
        run(teacher, data, folder, out / "teacher.safetensors", seed, progress)
    if not half.exists():
        encoder = create_model("nano", folder / ENCODER)
        export(encoder, half, tag="omnirad-nano", licence=LICENCE, fp16=True)
    return half


def _tables(
    folder: Path, labelled: dict[str, str], split: str, progress: Progress
) -> dict[str, Table]:
    """Return kNN scores with those of what needs no training, by set."""
    return {
        name: evaluate(str(folder), "nano", text, split, None, "cpu", progress)
        for name, text in labelled.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="train omnirad-nano from images and DINOv2-S")
    parser.add_argument("data_root", type=Path, help="holds medmnist/, hannover_cxr/, roco_ccby/")
    parser.add_argument("teacher", help="DINOv2-S: a file, a folder, or dinov2 (from the hub)")
    parser.add_argument("out", type=Path, help="folder of all runs; repeat the command to go on")
    asked = parser.parse_args()
    console.setup_logging()
    try:
        with console.progress() as progress:
            print(build(asked.data_root, asked.teacher, asked.out, progress))
    except OmniradError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
