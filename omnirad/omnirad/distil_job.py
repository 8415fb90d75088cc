"""What one call of `distil` does: opens, computes or loads features, trains, exports."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from omnirad.architectures import architecture
from omnirad.atomic import written
from omnirad.checkpoints import versions
from omnirad.data.manifest import write_manifest
from omnirad.data.sources import Source
from omnirad.data.specs import open_sources
from omnirad.distillation import DistilRecipe, distil
from omnirad.errors import UsageError
from omnirad.exporting import export
from omnirad.job import ENCODER, LOG, MANIFEST
from omnirad.model import create_model
from omnirad.progress import Progress
from omnirad.runlog import RunLog
from omnirad.teacher_features import TeacherFeatures, compute, load, save
from omnirad.weights import load_encoder, locate, read_state

TEACHER = "small"
RECORD = "distil.json"
RECIPE = DistilRecipe()


def run(
    teacher: str,
    data: tuple[str, ...],
    out: Path,
    cache: Path,
    seed: int,
    progress: Progress,
    recipe: DistilRecipe = RECIPE,
) -> Path:
    """Distil a nano encoder.

    Args:
        teacher: Weights of DINOv2-S, as in `create_model`.
        data: Texts of `omnirad.data.specs`; their training parts are read.
        out: To be made; one that was stopped is begun again.
        cache: File of the teacher's features.
        seed: Of everything random but the views.
        progress: Where to report.
        recipe: How.

    Returns:
        The folder of the exported student.

    Raises:
        OmniradError: If something is missing or wrong, or if the run fails.
    """
    require_free(out)
    weights = locate(teacher, TEACHER)
    student = truncated(weights, recipe.crop_size)
    source = open_sources(data)
    out.mkdir(parents=True, exist_ok=True)
    identity = {
        "manifest": write_manifest(source, out / MANIFEST, progress),
        "teacher": file_digest(weights),
        "views": recipe.views,
        "teacher_size": recipe.teacher_size,
        "crop_size": recipe.crop_size,
    }
    features = _features(weights, source, recipe, cache, identity, progress)
    content = {
        "identity": identity,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "images": len(source),
        "versions": versions(),
    }
    with written(out / RECORD, "w") as stream:
        json.dump(content, stream, indent=2)
    log = RunLog(out / LOG)
    log.cut(0)
    distil(student, source, features, recipe, seed=seed, log=log, progress=progress)
    return export(student, out / ENCODER, tag="omnirad-nano-distilled")


def require_free(out: Path) -> None:
    """Raise `UsageError` if a folder holds anything but the start of a run like this."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    others = {path.name for path in out.iterdir()} if out.exists() else set()
    if others - {MANIFEST, RECORD, LOG}:
        raise UsageError(f"{out} exists and is not empty; choose a new folder")


def truncated(weights: Path, img_size: int) -> VisionTransformer:
    """Return a nano encoder that is the start of a larger one: embedding, first blocks, norm."""
    student = create_model("nano", None, img_size=img_size, dynamic_img_size=True)
    kept = tuple(f"blocks.{index}." for index in range(architecture("nano").depth))
    state = read_state(weights)
    start = {n: t for n, t in state.items() if not n.startswith("blocks.") or n.startswith(kept)}
    load_encoder(student, start, weights)
    return student


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _features(
    weights: Path,
    source: Source,
    recipe: DistilRecipe,
    cache: Path,
    identity: dict[str, Any],
    progress: Progress,
) -> TeacherFeatures:
    """Return the teacher's features, from the cache or computed and kept there."""
    features = load(cache, identity)
    if features is None:
        features = compute(
            create_model(TEACHER, weights, img_size=recipe.teacher_size),
            source,
            views=recipe.views,
            size=recipe.teacher_size,
            crop_size=recipe.crop_size,
            progress=progress,
        )
        save(cache, features, identity)
    return features
