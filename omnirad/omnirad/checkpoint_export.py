"""The teacher in a run's checkpoint as an encoder that anyone can load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from omnirad.architectures import PATCH
from omnirad.checkpoints import read, steps
from omnirad.errors import IntegrityError, SetupError
from omnirad.evaluation import size_of_state
from omnirad.exporting import export
from omnirad.job import CHECKPOINTS
from omnirad.model import create_model

PREFIX = "encoder."


def export_checkpoint(
    run: Path, folder: Path, *, step: int | None, fp16: bool, tag: str, licence: str
) -> Path:
    """Write the teacher of a checkpoint, see `exporting.export`.

    Args:
        run: Folder of a run.
        folder: To be made.
        step: Which checkpoint; the newest by default.
        fp16: Store half precision.
        tag: Name of the weights.
        licence: Of the weights.

    Raises:
        SetupError: If there is no such checkpoint.
        IntegrityError: If it is damaged.
    """
    found = steps(run / CHECKPOINTS)
    if not found or (step is not None and step not in found):
        held = ", ".join(map(str, sorted(found))) or "none"
        wanted = "a checkpoint" if step is None else f"a checkpoint of step {step}"
        raise SetupError(f"{run} has not {wanted}; there are: {held}")
    path = found[max(found) if step is None else step]
    try:
        teacher: Mapping[str, Tensor] = read(path)["state"]["pair"]["teacher"]
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{path} holds no teacher ({error}); name a run of ours") from None
    state = {n.removeprefix(PREFIX): t for n, t in teacher.items() if n.startswith(PREFIX)}
    side = round((state["pos_embed"].shape[1] - 1) ** 0.5)
    encoder = create_model(size_of_state(state), None, img_size=side * PATCH)
    encoder.load_state_dict(state)
    return export(encoder, folder, tag=tag, licence=licence, fp16=fp16)
