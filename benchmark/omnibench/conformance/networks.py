"""What every whole network (`end_to_end`) must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from omnibench.behaviour import pictures
from omnibench.conformance.findings import Finding, conclude
from omnibench.handle import EncoderHandle

CLASSES = 3
IDLE = 0.1  # of all values; ready-made encoders keep layers that a decoder does not read
SIDE = 128  # pixels; a multiple of every network's deepest stride


def check_network(handle: EncoderHandle, *, device: str = "cpu") -> Iterator[Finding]:
    """Check a network that is trained from scratch; raises what building it raises."""
    subject = Subject(handle, device)
    _ = subject.network
    yield from conclude(f"encoder {handle.label}", subject, CHECKS)


class Subject:
    """A network under check."""

    def __init__(self, handle: EncoderHandle, device: str) -> None:
        self.handle, self.device = handle, device
        self.images = pictures(SIDE).to(device)

    def built(self, seed: int) -> nn.Module:
        """Return a network drawn from a seed, in eval mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.handle.build_end_to_end(CLASSES).to(self.device).eval()

    @cached_property
    def network(self) -> nn.Module:
        """The network of seed 0."""
        return self.built(0)

    @cached_property
    def logits(self) -> Tensor:
        """Logits of two pictures."""
        found: Tensor = self.network(self.images)
        return found


def _shape(subject: Subject) -> str | None:
    found, expected = tuple(subject.logits.shape), (2, CLASSES, SIDE, SIDE)
    return None if found == expected else f"logits have shape {found}, {expected} was expected"


def _finite(subject: Subject) -> str | None:
    return None if bool(torch.isfinite(subject.logits).all()) else "logits are not finite"


def _gradients(subject: Subject) -> str | None:
    subject.network(subject.images).square().mean().backward()
    sizes = {n: (p.numel(), p.grad is None) for n, p in subject.network.named_parameters()}
    idle = [name for name, (_, without) in sizes.items() if without]
    share = sum(sizes[name][0] for name in idle) / sum(size for size, _ in sizes.values())
    if share <= IDLE:
        return None
    return f"{len(idle)} parameters, {share:.0%} of all values, get no gradient ({idle[0]}, …)"


def _drawn(subject: Subject) -> str | None:
    same, other = subject.built(0).state_dict(), subject.built(1).state_dict()
    own = subject.network.state_dict()
    if any(not torch.equal(t, same[n]) for n, t in own.items()):
        return "two networks of one seed differ; draw from torch's global generator alone"
    if all(torch.equal(t, other[n]) for n, t in own.items()):
        return "networks of two seeds are equal: it is not drawn from torch's global generator"
    return None


def _alone(subject: Subject) -> str | None:
    logits = subject.logits.detach()
    with torch.no_grad():
        alone = subject.network(subject.images[:1])
    moved = float((alone - logits[:1]).abs().max())
    if moved <= 1e-3 * float(logits.abs().max()):
        return None
    return f"in eval mode, logits of an image move by {moved:.2g} with its neighbours in the batch"


CHECKS: dict[str, Callable[[Subject], str | None]] = {
    "it gives one logit a class and pixel": _shape,
    "its logits are finite": _finite,
    "its parameters get gradients": _gradients,
    "it is drawn from the run's seed": _drawn,
    "logits do not depend on the batch": _alone,
}
