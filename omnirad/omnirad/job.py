"""What one call of `pretrain` asks for, and what it comes down to before anything is trained."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omnirad.atomic import disk_errors, written
from omnirad.errors import IntegrityError, UsageError
from omnirad.progress import Progress
from omnirad.recipe import PretrainRecipe

if TYPE_CHECKING:
    from omnirad.checkpoints import Identity
    from omnirad.data.sources import Source
    from omnirad.distributed import Place

logger = logging.getLogger(__name__)

RUN, MANIFEST, LOG, PICTURE = "run.json", "manifest.csv", "log.jsonl", "curves.png"
CHECKPOINTS, ENCODER = "checkpoints", "encoder"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call."""

    recipe: PretrainRecipe
    data: tuple[str, ...]  # texts of `omnirad.data.specs`
    out: Path
    initial: str | None = None  # weights, as in `create_model`
    seed: int = 0
    stop: int | None = None  # end after this many steps of the run, which then can be continued
    workers: int = 0
    device: str = "auto"
    probe: str | None = None  # a labelled source for the kNN probe of every epoch
    save_every: int = 500  # steps
    log_every: int = 10  # steps
    judge_every: int = 100  # steps; a multiple of `log_every`
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name in ("save_every", "log_every", "judge_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.stop is not None and self.stop < 1:
            raise UsageError(f"--steps {self.stop}: give 1 or more")
        if self.seed < 0 or self.workers < 0:
            raise UsageError(f"seed {self.seed}, workers {self.workers}: both begin at 0")
        require_initial(self.recipe, self.initial)
        if self.probe is not None:
            require_unseen(self.probe, self.data, self.recipe.splits)


def require_initial(recipe: PretrainRecipe, initial: str | None) -> None:
    """Raise `UsageError` unless weights are given exactly where the recipe starts from some."""
    if recipe.init == "weights" and initial is None:
        raise UsageError(
            "this recipe starts from DINOv2's weights: give --init FILE, or --init dinov2 to fetch "
            "them from the hub. Training from random weights must be asked for: --preset scratch"
        )
    if recipe.init == "random" and initial is not None:
        raise UsageError(
            f"this recipe starts from random weights, but --init {initial} is given; leave it out, "
            "or add --set init=weights"
        )


def require_unseen(probe: str, data: tuple[str, ...], splits: tuple[str, ...]) -> None:
    """Raise `UsageError` if the images that a probe asks about are trained on."""
    if probe in data and "val" in splits:
        raise UsageError(
            f"--probe {probe} asks about val images, which splits={','.join(splits)} trains on; "
            "leave val out of splits, or probe with another set"
        )


def initial_digest(job: Job) -> str:
    """Return the SHA-256 of the initial weights' file, or `random`."""
    if job.initial is None:
        return "random"
    from omnirad.weights import locate

    with locate(job.initial, job.recipe.size).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def identify(job: Job, source: Source, place: Place, progress: Progress) -> Identity:
    """Check every image, and return what makes this run the same run another day.

    The folder's `run.json` and `manifest.csv` are written, or compared if they exist.

    Raises:
        UsageError: If the folder holds something else, or a run that differs.
        DataError: If images cannot be read.
    """
    from omnirad.checkpoints import Identity

    require_own_folder(job.out)
    draft = job.out / f".{MANIFEST}"
    manifest = place.told(_manifest(source, draft, progress) if place.first else None)
    identity = Identity(
        recipe=job.recipe,
        seed=job.seed,
        manifest=manifest,
        images=len(source),
        initial=initial_digest(job),
        world_size=place.comm.world_size,
        precision=precision(place.device.type),
    )
    if place.first:
        try:
            require_same_run(job, identity)
            write_run(job, identity)
            if draft.exists():
                draft.replace(job.out / MANIFEST)
        finally:
            draft.unlink(missing_ok=True)
    return identity


def precision(device_type: str) -> Literal["fp32", "bf16"]:
    """Return what networks are computed in."""
    return "bf16" if device_type == "cuda" else "fp32"


def require_own_folder(out: Path) -> None:
    """Make the folder; raise `UsageError` if it holds anything but a run."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    with disk_errors(out):
        (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    others = [path.name for path in out.iterdir() if path.name not in (RUN, CHECKPOINTS)]
    if not (out / RUN).exists() and [name for name in others if not name.startswith(".")]:
        raise UsageError(
            f"--out {out} holds {', '.join(sorted(others)[:3])}, but no run; choose a new folder"
        )


def require_same_run(job: Job, identity: Identity) -> None:
    """Raise `UsageError` naming every difference to the run in the folder, unless forced."""
    if not (job.out / RUN).exists() and not any((job.out / CHECKPOINTS).iterdir()):
        return
    differences = differing(read_run(job.out), identity.document())
    if differences and not job.force:
        raise UsageError(
            f"{job.out} holds a run that differs: {'; '.join(differences)}. Repeat its own "
            "command, choose another --out, or give --force to go on with the new values"
        )
    for difference in differences:
        logger.warning("going on although %s", difference)


def read_run(out: Path) -> dict[str, str]:
    """Return the identity in a run's folder.

    Raises:
        IntegrityError: If it cannot be read.
    """
    try:
        return dict(json.loads((out / RUN).read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{out / RUN} is missing or damaged ({type(error).__name__}), so that the checkpoints "
            "beside it may be of any run; start again in another folder"
        ) from None


def differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Say for every field that is not the same what it was and what it is."""
    return [
        f"{name} was {before.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def write_run(job: Job, identity: Identity) -> None:
    """Write down what this run is, for readers."""
    from omnirad.checkpoints import versions
    from omnirad.settings import digest, document

    content = {
        "identity": identity.document(),
        "recipe_digest": digest(document(job.recipe)),
        "data": list(job.data),
        "init": job.initial,
        "notices": job.recipe.notices(),
        "versions": versions(),
    }
    with written(job.out / RUN, "w") as stream:
        json.dump(content, stream, indent=2)


def _manifest(source: Source, path: Path, progress: Progress) -> str:
    """Return the digest of the images' table; packed images bring theirs."""
    from omnirad.data.manifest import write_manifest
    from omnirad.data.packed import PackedSource

    if isinstance(source, PackedSource):
        return source.manifest_digest
    return write_manifest(source, path, progress)
