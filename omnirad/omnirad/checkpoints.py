"""Checkpoints: complete or not there, the last few kept, and tied to the run they belong to."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from omnirad.atomic import written
from omnirad.errors import IntegrityError
from omnirad.recipe import PretrainRecipe
from omnirad.settings import document

LATEST = 3  # checkpoints that are always kept
LASTING = 10  # every so many saves one is kept for good
FORMAT = "omnirad-checkpoint-1"
NAME = re.compile(r"checkpoint-(\d{9})\.pt")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What must be the same for a run to go on as if it had never stopped."""

    recipe: PretrainRecipe
    seed: int
    manifest: str  # SHA-256 of the images' table
    images: int
    initial: str  # SHA-256 of the initial weights, or `random`
    world_size: int
    precision: str

    def document(self) -> dict[str, str]:
        """Return everything as texts, the recipe's fields among them."""
        own = {name: str(value) for name, value in vars(self).items() if name != "recipe"}
        return document(self.recipe) | own


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: Made if need be.
        identity: Of the run.
        every: Steps between two saves; every tenth of these is kept for good.
    """

    def __init__(self, folder: Path, identity: Identity, *, every: int) -> None:
        self.folder = folder
        self.identity = identity
        self.every = every

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write what is needed to go on with `step`, then remove what is too old.

        Args:
            step: The first one that is still to be done.
            state: Tensors and plain values.

        Raises:
            SetupError: If the disk refuses; checkpoints that were there stay.
        """
        content = {
            "format": FORMAT,
            "step": step,
            "identity": self.identity.document(),
            "versions": versions(),
            "state": state,
        }
        # Serialised before the disk is touched: torch would hide the disk's own error.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = self.folder / f"checkpoint-{step:09d}.pt"
        with written(path) as stream:
            stream.write(buffer.getbuffer())
        for old in self._superseded():
            old.unlink(missing_ok=True)
        return path

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """Return step and state of the newest checkpoint, or None where there is none.

        Raises:
            IntegrityError: If it is damaged.
        """
        found = steps(self.folder)
        if not found:
            return None
        content = read(found[max(found)])
        return int(content["step"]), content["state"]

    def _superseded(self) -> list[Path]:
        found = steps(self.folder)
        latest = sorted(found)[-LATEST:]
        lasting = self.every * LASTING
        return [path for step, path in found.items() if step not in latest and step % lasting]


def steps(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a folder by step."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.glob("*.pt"))
    return {int(match[1]): path for match, path in named if match}


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU; no code in it is run.

    Raises:
        IntegrityError: If it is damaged or something else.
    """
    try:
        # torch writes checksums, and does not compare them.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, not {FORMAT!r}")
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).strip().split("\n")[0][:200]
        raise IntegrityError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}: {reason}); remove it to "
            "go on from the one before"
        ) from error
    return dict(content)


def versions() -> dict[str, str]:
    """Return what a reader needs to know of the software."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "timm", "numpy")}
