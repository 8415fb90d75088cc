"""Reads a checkpoint without running code from it, and loads it or says why not.

timm and transformers both return a random model for a wrong file under some settings
(a warning at most), so every key is checked here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnibench.errors import IntegrityError

WRAPPERS = ("state_dict", "model")
ENCODER_REMEDY = (
    "It belongs to another model, or holds more than the encoder; use --encoder NAME of the "
    "matching architecture, or save the encoder's state dict alone."
)
PREFIXES = ("module.", "_orig_mod.")  # left by DataParallel and torch.compile


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint, on the CPU, as stored.

    Reads safetensors, and PyTorch files in `weights_only` mode. Wrappers (`state_dict`, `model`)
    and the key prefixes of DataParallel and torch.compile are taken off.

    Raises:
        IntegrityError: If the file is damaged, is something else, or holds Python objects.
    """
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    return _named_tensors(_unwrap(content), path)


def load_checked(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    head_prefixes: Sequence[str] = ("head.", "fc."),
    path: Path,
    remedy: str = ENCODER_REMEDY,
) -> None:
    """Load `state` into `module`, or raise without leaving anything to chance.

    What was loaded is noted in `module.key_coverage`, for the record.

    Args:
        module: Receives the values, in its own precision.
        state: Named tensors; those of a head may be surplus.
        head_prefixes: How names of a head begin, which an encoder does not have.
        path: The file, for messages.
        remedy: What messages say of a file that does not fit.

    Raises:
        IntegrityError: If a key is missing or surplus, a shape differs, or a value is not finite.
    """
    own = module.state_dict()
    surplus = [k for k in state if k not in own and not k.startswith(tuple(head_prefixes))]
    wanted = {k: v for k, v in state.items() if k in own}
    # BatchNorm's step counter came later than many checkpoints; torch fills it in.
    missing = [k for k in own if k not in wanted and not k.endswith("num_batches_tracked")]
    shapes = [
        f"{k} {tuple(v.shape)} instead of {tuple(own[k].shape)}"
        for k, v in wanted.items()
        if v.shape != own[k].shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("surplus", surplus),
            ("of another shape", shapes),
        )
        if names
    ]
    if problems:
        raise IntegrityError(
            f"{path} does not fit: of {len(own)} tensors {'; '.join(problems)}. {remedy}"
        )
    require_finite(wanted, path)
    module.load_state_dict(wanted, strict=False)
    head = len(state) - len(wanted)
    # A plain attribute: nn.Module declares its attributes as tensors and modules.
    module.__dict__["key_coverage"] = (
        f"{len(wanted)} of {len(own)} tensors, {head} of a head left out"
    )


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise `IntegrityError` if any value is infinite or not a number."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise IntegrityError(
                f"{path}: tensor {name} holds values that are not finite; the file is damaged or "
                "its training diverged. Fetch or export it again."
            )


def _is_safetensors(path: Path) -> bool:
    """Tell by content: eight bytes of header length, then a JSON object."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return path.suffix == ".safetensors" or (
        start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise IntegrityError(
            f"{path} is no complete safetensors file ({error}): fetch it again, and look at "
            "whether it is a web page or was cut short"
        ) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise IntegrityError(
            f"{path} is refused: it is no plain state dict but holds Python objects (which could "
            "run code when read), or is no checkpoint at all. Save the encoder's state dict as "
            "safetensors, or with torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise IntegrityError(
            f"{path} cannot be read as a checkpoint ({reason}): it is cut short, in an old "
            "format, or something else. Fetch it again, or save it as safetensors."
        ) from error


def _unwrap(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = [content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)]
        if len(inner) != 1:
            break
        content = inner[0]
    return content


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise IntegrityError(
            f"{path} holds a {type(content).__name__}, not named tensors; save a state dict"
        )
    others = [str(k) for k, v in content.items() if not isinstance(v, Tensor)]
    if others or not content:
        raise IntegrityError(
            f"{path} is no state dict: {len(others)} of {len(content)} entries are not tensors "
            f"({', '.join(others[:5])}). If the encoder is inside one of them, save that alone."
        )
    state = {str(k): v for k, v in content.items()}
    for prefix in PREFIXES * 2:  # either may be outermost
        if all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
