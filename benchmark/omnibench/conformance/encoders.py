"""What every encoder must do, shown in CPU seconds for a small one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from omnibench import behaviour
from omnibench.adapters import add_adapters, merge_adapters, require_live_adapters
from omnibench.behaviour import Trial, pictures
from omnibench.cards import EncoderSpec
from omnibench.conformance.findings import Checks, Finding, NotApplicable, conclude
from omnibench.conformance.networks import check_network
from omnibench.conformance.parameters import PARAMETERS
from omnibench.encoder import Encoder, Features
from omnibench.errors import OmnibenchError, UsageError
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.seeding import generator

SIZES = (224, 448)  # pixels; of classification and captioning, and of segmentation
RANK = 8
CLOSE = 1e-4  # of the largest value: two ways to the same number
STIR = 0.1
PERMUTED = 1e-3  # likewise: less and positions do not matter


def check_encoder(
    encoder: EncoderSpec | EncoderHandle,
    *,
    sizes: Sequence[int] = SIZES,
    device: str = "cpu",
) -> Iterator[Finding]:
    """Check an encoder against its contract.

    Args:
        encoder: A card, which is built with its own parameters, or at random where they would
            have to be fetched; or a handle, whose choice of weights holds.
        sizes: Sides of images in pixels; a size that the encoder refuses clearly is skipped, but
            it must take one of them.
        device: Torch device.

    Yields:
        One finding a check, as soon as it is known.

    Raises:
        OmnibenchError: If it cannot be built.
    """
    handle = encoder if isinstance(encoder, EncoderHandle) else _handle(encoder)
    if handle.card.end_to_end:
        yield from check_network(handle, device=device)
        return
    subject = Subject(handle, sizes, device)
    _ = subject.encoder
    by_size = {f"its features and maps fit images of {s} px": partial(_sized, s) for s in sizes}
    checks: Checks[Subject] = {
        **PARAMETERS,
        **by_size,
        **{sentence: partial(_tried, check) for sentence, check in behaviour.CHECKS.items()},
        **CHECKS,
    }
    yield from conclude(f"encoder {handle.label}", subject, checks)


class Subject:
    """An encoder under check."""

    def __init__(self, handle: EncoderHandle, sizes: Sequence[int], device: str) -> None:
        self.handle, self.sizes, self.device = handle, sizes, device

    def built(self) -> Encoder:
        """Return a fresh copy on the device, in eval mode."""
        return self.handle.build(normalization="own", pool="checkpoint").to(self.device)

    @cached_property
    def encoder(self) -> Encoder:
        """A frozen copy that most checks share."""
        return self.built().freeze()

    @cached_property
    def size(self) -> int:
        """The smallest of the sizes that it takes."""
        refusal = ""
        for size in sorted(self.sizes):
            try:
                self.encoder(self.images(size, 1))
            except UsageError as error:
                refusal = str(error)
            else:
                return size
        raise UsageError(f"it takes none of the sizes {list(self.sizes)} ({refusal})")

    @cached_property
    def trial(self) -> Trial:
        """Forward passes at that size."""
        return Trial(self.built(), self.size, self.device)

    @cached_property
    def features(self) -> Features:
        """Features of two pictures."""
        return self.trial.both

    def images(self, size: int | None = None, count: int = 2) -> Tensor:
        """Return pictures [count, 3, S, S], of its smallest size unless one is named."""
        return pictures(size or self.size, count).to(self.device)


def _handle(card: EncoderSpec) -> EncoderHandle:
    choice = WeightsChoice(kind="random" if card.source else "own")
    return EncoderHandle(card=card, weights=choice, label=card.name)


def _tried(check: behaviour.Check, subject: Subject) -> str | None:
    return check(subject.trial)


def _sized(size: int, subject: Subject) -> str | None:
    """Shapes themselves are held by `Encoder`; here is what one map says about another."""
    _ = subject.size
    encoder = subject.encoder
    try:
        found = encoder(subject.images(size, 1))
    except UsageError as error:
        raise NotApplicable(f"refused: {error}") from None
    maps = encoder.intermediates(subject.images(size, 1), range(encoder.depth))
    sides = [(m.shape[2], m.shape[3]) for m in maps]
    if encoder.patch_size > 1:
        expected = (size // encoder.patch_size,) * 2
        if found.grid != expected or set(sides) != {expected}:
            return (
                f"tokens have the grid {found.grid} and maps {sorted(set(sides))}, patches of "
                f"{encoder.patch_size} px make {expected}; correct the grid or patch_size"
            )
    if sides != sorted(sides, reverse=True):
        return f"maps grow from one block to the next ({sides}); return blocks in their order"
    return None


def _last_layer(subject: Subject) -> str | None:
    encoder = subject.encoder
    if encoder.patch_size == 1:
        raise NotApplicable("its blocks have grids of their own")
    (last,) = encoder.intermediates(subject.images(), [encoder.depth - 1], norm=True)
    tokens = subject.features.tokens
    apart = _apart(last.flatten(2).transpose(1, 2), tokens)
    if apart <= CLOSE:
        return None
    return (
        f"the last map with norm=True and the patch tokens differ by {apart:.2g} of the largest "
        "value; tokens are the final block's, normed, row by row"
    )


@torch.no_grad()
def _positions(subject: Subject) -> str | None:
    images, (height, width) = subject.images(), subject.features.grid
    if subject.size % height or subject.size % width or height * width == 1:
        raise NotApplicable(f"its grid {height}x{width} does not divide {subject.size} px")
    encoder = subject.built().freeze()
    if subject.handle.weights.kind == "random":
        # Relative position tables begin at 0: untrained, only other values show that they are used.
        draw = generator("stirred")
        for parameter in encoder.parameters():
            parameter.add_(STIR * torch.randn(parameter.shape, generator=draw).to(parameter))
    order = torch.randperm(height * width, generator=generator("positions")).to(subject.device)
    permuted = encoder(_blocks_moved(images, height, width, order)).tokens
    if _apart(permuted, encoder(images).tokens[:, order]) > PERMUTED:
        return None
    return (
        "moving the patches of an image merely moves its tokens: it does not know where a patch "
        "is; look at its position embedding (rotary ones are lost when blocks are called by hand)"
    )


def _blocks_moved(images: Tensor, height: int, width: int, order: Tensor) -> Tensor:
    """Return images whose blocks [h*w] stand in another order."""
    down, across = images.shape[2] // height, images.shape[3] // width
    blocks = images.unfold(2, down, down).unfold(3, across, across)  # [B, 3, h, w, down, across]
    moved = blocks.flatten(2, 3)[:, :, order].reshape(blocks.shape)
    return moved.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def _head_learns(subject: Subject) -> str | None:
    head = nn.Linear(subject.encoder.pooled_dim, 2).to(subject.device)
    head(subject.encoder(subject.images()).pooled).square().sum().backward()
    if head.weight.grad is not None and bool(head.weight.grad.count_nonzero()):
        return None
    return "a linear layer on its frozen features gets no gradient"


def _can_be_tuned(subject: Subject) -> str | None:
    encoder = subject.built().requires_grad_(True)
    encoder(subject.images()).pooled.square().sum().backward()
    reached = [p for p in encoder.parameters() if p.grad is not None and bool(p.grad.any())]
    return None if reached else "no parameter gets a gradient from the pooled features"


class _Classifier(nn.Module):
    """An encoder with a linear layer on its pooled features."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.pooled_dim, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(images).pooled)
        return logits


@torch.no_grad()
def _lora(subject: Subject) -> str | None:
    encoder = subject.built()
    targets = encoder.lora_targets or subject.handle.card.lora_targets
    if targets is None:
        raise NotApplicable("it names no layers (lora_targets)")
    if targets == "all-linear" and not any(isinstance(m, nn.Linear) for m in encoder.modules()):
        raise NotApplicable("it has no linear layers")
    model = _Classifier(encoder).to(subject.device).eval()
    before = model(subject.images())
    add_adapters(encoder.backbone, targets, RANK, 0.0)
    model.to(subject.device)
    if _apart(model(subject.images()), before) > CLOSE:
        return "adapters that were never trained change its output; look at how it calls its layers"
    with torch.enable_grad():
        labels = torch.zeros(2, dtype=torch.int64, device=subject.device)
        require_live_adapters(model, subject.images(), labels)
    draw = generator("adapters")
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=draw))
    apart = model(subject.images())
    merge_adapters(model)
    if _apart(model(subject.images()), apart) > CLOSE:
        return "merged adapters give another output than separate ones; it bypasses their layers"
    return None


def _grey(subject: Subject) -> str | None:
    grey = subject.images()[:, :1].expand(-1, 3, -1, -1)
    found, expected = subject.encoder(grey).pooled, subject.encoder(grey.contiguous()).pooled
    if _apart(found, expected) <= CLOSE:
        return None
    return "a grey image expanded to three channels gives other features than its copy"


def _range(subject: Subject) -> str | None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            subject.built().freeze()(255 * subject.images())
        except OmnibenchError:
            return None
    if caught:
        return None
    return (
        "images from 0 to 255 pass without a word; call Encoder.prepare, which refuses them, "
        "where forward is overridden"
    )


def _bfloat(subject: Subject) -> str | None:
    return behaviour.finite_under(subject.encoder, subject.images(), "bf16", subject.device)


def _card(subject: Subject) -> str | None:
    card, encoder = subject.handle.card, subject.encoder
    stated = {
        name: (getattr(card, name), getattr(encoder, name))
        for name, unknown in (("embed_dim", 0), ("patch_size", 1), ("depth", 0))
        if getattr(card, name) != unknown
    }
    wrong = [f"{n} {said}, built {found}" for n, (said, found) in stated.items() if said != found]
    if wrong:
        return f"its card says {'; '.join(wrong)}; correct the card"
    return None if any(True for _ in encoder.parameters()) else "it has no parameters"


def _apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))


Check = Callable[[Subject], str | None]
CHECKS: dict[str, Check] = {
    "the last map, normed, is the patch tokens": _last_layer,
    "it knows where a patch is": _positions,
    "a head on its frozen features can learn": _head_learns,
    "it can be tuned": _can_be_tuned,
    "LoRA adapters learn, and merge exactly": _lora,
    "grey images are taken": _grey,
    "images outside [0, 1] are refused": _range,
    "its features are finite in bf16": _bfloat,
    "its card is true": _card,
}
