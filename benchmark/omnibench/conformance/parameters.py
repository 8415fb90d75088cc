"""Where an encoder's parameters come from: never silently from nowhere."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from omnibench import behaviour, weights
from omnibench.conformance.findings import NotApplicable
from omnibench.encoder import Encoder
from omnibench.errors import OmnibenchError, WeightsMissing
from omnibench.guards import parameters_digest, require_loaded
from omnibench.handle import EncoderHandle, WeightsChoice

ANSWER = 2.0  # seconds in which missing weights must be named


class HasHandle(Protocol):
    """What these checks need of their subject."""

    handle: EncoderHandle

    @property
    def encoder(self) -> Encoder:
        """The encoder, frozen."""


def _two_builds(subject: HasHandle) -> str | None:
    """Random parameters follow torch's seed; others do not depend on it at all."""
    built = subject.handle.build(normalization="own", pool="checkpoint")
    if subject.handle.weights.kind == "random":
        if parameters_digest(built) != parameters_digest(subject.handle.built_anew()):
            return "two builds from one seed differ; draw from torch's global generator alone"
        if behaviour.drawn_tensors(built, subject.handle.built_anew("another stream")):
            return None
        return "builds from two seeds are equal; draw from torch's global generator, unseeded"
    drawn = behaviour.drawn_tensors(built, subject.handle.built_anew("another stream"))
    if not drawn:
        return None
    return (
        f"{len(drawn)} of {len(built.state_dict())} tensors are drawn at random in build() "
        f"({', '.join(drawn[:3])}); nothing may be silently random: load them, or refuse"
    )


def _not_random(subject: HasHandle) -> str | None:
    handle = subject.handle
    if handle.weights.kind == "random":
        raise NotApplicable("random weights were asked for")
    require_loaded(handle)
    built = handle.build(normalization="own", pool="checkpoint")
    if behaviour.is_random(built, handle.built_anew(random_init=True)):
        return "its parameters are those that random_init=True draws: nothing was loaded"
    return None


def _own_checkpoint(subject: HasHandle) -> str | None:
    """Save the backbone's state dict and load it: names are its publisher's."""
    state = subject.encoder.backbone.state_dict()
    own = [name for name in subject.encoder.state_dict() if not name.startswith("backbone.")]
    if own:
        return f"{', '.join(own[:3])} would be saved with its weights; keep them out of state_dict"
    with _loading(subject.handle, state) as loaded:
        rebuilt = loaded()
    theirs = rebuilt.backbone.state_dict()
    lost = [n for n, t in state.items() if n not in theirs or not torch.equal(t.cpu(), theirs[n])]
    if not lost:
        return None
    return (
        f"{len(lost)} of {len(state)} tensors of its own state dict are not loaded back by "
        f"build(weights=FILE) ({', '.join(lost[:3])}); load what `weights` names"
    )


def _junk(subject: HasHandle) -> str | None:
    with _loading(subject.handle, {"foo": torch.zeros(3)}) as loaded:
        try:
            loaded()
        except OmnibenchError:
            return None
    return (
        "a file with one unknown tensor is taken for its weights; use "
        "omnibench.checkpoint.load_checked in build()"
    )


def _missing(subject: HasHandle) -> str | None:
    card = subject.handle.card
    if card.source is None:
        raise NotApplicable("its weights are not fetched")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        try:
            weights.resolve(card, file=None, random=False, offline=True, cache=Path(cache))
        except WeightsMissing as error:
            seconds, message = time.perf_counter() - start, str(error)
        else:
            raise NotApplicable("its weights are on this machine")
    if card.source.repo not in message:
        return f"missing weights are announced without {card.source.repo!r}: {message}"
    return None if seconds < ANSWER else f"missing weights are announced after {seconds:.1f} s"


class _loading:
    """A context in which the encoder can be built from a file that holds `state`."""

    def __init__(self, handle: EncoderHandle, state: dict[str, Tensor]) -> None:
        self.handle, self.state = handle, state

    def __enter__(self) -> Callable[[], Encoder]:
        from safetensors.torch import save_file

        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "model.safetensors"
        save_file({n: t.detach().cpu().clone().contiguous() for n, t in self.state.items()}, file)
        self._bring_companions(file.parent)
        choice = WeightsChoice(kind="file", path=file)
        other = dataclasses.replace(self.handle, weights=choice, _pristine=None)
        return other.built_anew

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()

    def _bring_companions(self, folder: Path) -> None:
        source, path = self.handle.card.source, self.handle.weights.path
        for name in source.companions if source else ():
            if path is None or not (path.parent / name).is_file():
                raise NotApplicable(f"it needs {name} beside its weights")
            shutil.copyfile(path.parent / name, folder / name)


PARAMETERS: dict[str, Callable[[HasHandle], str | None]] = {
    "nothing in it is silently random": _two_builds,
    "its parameters are not random ones": _not_random,
    "its own state dict is a weights file": _own_checkpoint,
    "a file that is no weights of it is refused": _junk,
    "missing weights are named at once": _missing,
}
