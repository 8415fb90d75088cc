"""What a frozen encoder must and must not do, seen in a few forward passes.

One list of checks serves the guard before every run and the conformance kit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from omnibench.encoder import Encoder, Features
from omnibench.features.frozen import fingerprint
from omnibench.forward import autocast_to
from omnibench.seeding import generator

Check = Callable[["Trial"], str | None]

# Shares of the largest value: what rounding may do, and what neighbours in a batch may do as a
# share of what tells two pictures apart (batch statistics do about all of it).
ROUNDING = 1e-5
NEIGHBOURS = 1e-2
ALIKE = 1e-6


def pictures(size: int, count: int = 2) -> Tensor:
    """Return blotches with a little noise, float RGB [count, 3, size, size] in [0, 1]."""
    draw = generator("pictures")
    coarse = torch.rand(count, 3, 7, 7, generator=draw)
    blotches = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return 0.9 * blotches + 0.1 * torch.rand(count, 3, size, size, generator=draw)


class Trial:
    """Forward passes of a frozen encoder on two pictures, each made when first asked for.

    Args:
        encoder: On `device`; frozen here, then told to train, which must change nothing.
        size: Side of the pictures in pixels.
        device: Torch device.
    """

    def __init__(self, encoder: Encoder, size: int, device: str) -> None:
        self.encoder = encoder.freeze().train()
        self.images = pictures(size).to(device)
        self.given = self.images.clone()
        self.before = fingerprint(encoder)
        self.on_cpu = torch.device(device).type == "cpu"

    @cached_property
    def both(self) -> Features:
        """Features of both pictures; the contract's shapes are looked at on the way."""
        with torch.enable_grad():
            return self.encoder(self.images)  # type: ignore[no-any-return]

    @cached_property
    def maps(self) -> list[Tensor]:
        """Maps of both pictures, of the layers that dense tasks read."""
        with torch.enable_grad():
            return self.encoder.intermediates(self.images)

    @cached_property
    def first(self) -> Features:
        """Features of the first picture alone."""
        return self.encoder(self.images[:1])  # type: ignore[no-any-return]

    @cached_property
    def again(self) -> Features:
        """The same once more."""
        return self.encoder(self.images[:1])  # type: ignore[no-any-return]

    def outputs(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all that was said of both pictures, by name."""
        yield from named(self.both)
        yield from ((f"dense map {number}", found) for number, found in enumerate(self.maps))


def named(features: Features) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of features with the names that messages give them."""
    yield "pooled features", features.pooled
    yield "patch tokens", features.tokens
    if features.prefix is not None:
        yield "prefix tokens", features.prefix


def shapes(trial: Trial) -> str | None:
    """The encoder itself raises for other shapes; what it cannot know is looked at here."""
    height, width = trial.both.grid
    if height != width:
        return f"a square image has the token grid {height}x{width}; return the grid as (h, w)"
    wrong = [f"{n} are {t.dtype}" for n, t in trial.outputs() if t.dtype != trial.images.dtype]
    return f"{', '.join(wrong)}; return {trial.images.dtype}, as the images are" if wrong else None


def evaluation(trial: Trial) -> str | None:
    """A frozen encoder stays in eval mode, whatever `train()` is told."""
    training = [name or "itself" for name, m in trial.encoder.named_modules() if m.training]
    if not training:
        return None
    return (
        f"{len(training)} of its modules are in training mode although it is frozen "
        f"({_some(training)}); its train() must not undo freeze()"
    )


def finite(trial: Trial) -> str | None:
    """No output is infinite or not a number."""
    wrong = [name for name, t in trial.outputs() if not bool(torch.isfinite(t).all())]
    return (
        f"{', '.join(wrong)} hold values that are not finite; look at its weights"
        if wrong
        else None
    )


def repeatable(trial: Trial) -> str | None:
    """The same picture twice gives the same bits; on an accelerator, up to rounding."""
    for (name, first), (_, again) in zip(named(trial.first), named(trial.again), strict=True):
        allowed = 0.0 if trial.on_cpu else ROUNDING * _largest(first)
        if not _largest(first - again) <= allowed:
            return (
                f"{name} of one picture differ between two forward passes; something is drawn "
                "in eval mode (dropout, drop path, masking)"
            )
    return None


def alone(trial: Trial) -> str | None:
    """What is said of a picture does not depend on its neighbours in the batch."""
    for (name, both), (_, first) in zip(named(trial.both), named(trial.first), strict=True):
        apart = _largest(both[0] - both[1])
        moved = _largest(both[:1] - first)
        if not moved <= NEIGHBOURS * apart + ROUNDING * _largest(both):
            return (
                f"{name} of a picture move by {moved:.2g} with its neighbours in the batch, where "
                f"two pictures lie {apart:.2g} apart; use no statistics of the batch in eval mode"
            )
    return None


def telling(trial: Trial) -> str | None:
    """Two pictures are told apart."""
    wrong = [
        name
        for name, t in trial.outputs()
        if name != "prefix tokens" and not _largest(t[0] - t[1]) > ALIKE * _largest(t)
    ]
    if not wrong:
        return None
    return (
        f"{', '.join(wrong)} are the same for two different pictures; look at its weights, and at "
        "LayerScale that begins near 0"
    )


def gradients(trial: Trial) -> str | None:
    """Nothing frozen asks for gradients."""
    wrong = [name for name, t in trial.outputs() if t.requires_grad]
    wrong += [name for name, p in trial.encoder.named_parameters() if p.requires_grad]
    return f"frozen, yet gradients are asked of {_some(wrong)}" if wrong else None


def inputs(trial: Trial) -> str | None:
    """The images are the caller's."""
    _ = trial.both, trial.maps
    if torch.equal(trial.images, trial.given):
        return None
    return "its forward pass writes to the images it is given; work on a copy"


def parameters(trial: Trial) -> str | None:
    """A forward pass changes no parameter and no buffer."""
    _ = trial.both, trial.maps, trial.first
    if fingerprint(trial.encoder) == trial.before:
        return None
    return (
        "parameters or buffers changed in a forward pass although it is frozen; keep what a "
        "forward pass must remember out of them"
    )


# Causes before what they lead to: the guard tells the first that fails.
CHECKS: Mapping[str, Check] = {
    "its outputs have the contract's shapes and type": shapes,
    "frozen, it stays in eval mode": evaluation,
    "frozen, its outputs and parameters ask for no gradient": gradients,
    "its outputs are finite": finite,
    "it does not write to its input": inputs,
    "a forward pass changes no parameter": parameters,
    "the same image gives the same features": repeatable,
    "features do not depend on the batch": alone,
    "different images give different features": telling,
}


def finite_under(encoder: Encoder, images: Tensor, precision: str, device: str) -> str | None:
    """Say whether features in mixed precision (`bf16`, `fp16`) are not finite."""
    with torch.no_grad(), autocast_to(precision, device):  # type: ignore[arg-type]
        wrong = [n for n, t in named(encoder(images)) if not bool(torch.isfinite(t).all())]
    if not wrong:
        return None
    return f"{', '.join(wrong)} are not finite in {precision}; use --precision bf16 or fp32"


def drawn_tensors(encoder: Encoder, other: Encoder) -> list[str]:
    """Return the tensors in which two builds of the same weights differ: nothing loaded them."""
    theirs = other.state_dict()
    return [n for n, t in encoder.state_dict().items() if not torch.equal(t, theirs[n])]


def is_random(encoder: Encoder, random: Encoder) -> bool:
    """Tell whether every parameter that is not one value throughout equals a random encoder's."""
    theirs = dict(random.named_parameters())
    varied = [(n, p) for n, p in encoder.named_parameters() if bool((p != p.flatten()[0]).any())]
    return bool(varied) and all(n in theirs and torch.equal(p, theirs[n]) for n, p in varied)


def _largest(t: Tensor) -> float:
    return float(t.detach().abs().max())


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
