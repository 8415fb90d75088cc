"""Savings that are not taken because they do not pay on a CPU, so that a reader can ask again.

    OMP_NUM_THREADS=1 python tests/performance/not_taken.py --rounds 5 [--compile]

channels_last and, with `--compile`, torch.compile for the trained modules of segmentation; batch
norms folded into their convolutions at evaluation; the heads of five seeds in one pass over the
data. 1 is what is done today; a ratio above 1 would be a saving.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from interleaved import times, told
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.cls.classifier import Head
from omnibench_plugins.tasks.seg.model import SegmentationModel, Source
from omnibench_plugins.tasks.seg.recipe import PAPER
from omnibench_plugins.tasks.seg.taps import TAPS, tapped

SIDE, BATCH, CLASSES = 448, 2, 2
SEEDS, WIDTH, SAMPLES, HEAD_BATCH = 5, 384, 546, 16  # BreastMNIST's training split


class Modules:
    """The trained modules on made-up taps, one copy for each way to run them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        encoder = build("vit_small_patch14_dinov2", random_init=True).freeze()
        channels = tuple(encoder.layer_channels[i] for i in tapped(encoder))
        source = Source(encoder.embed_dim, channels, (0.5,) * 3, (0.5,) * 3)
        self.plain = SegmentationModel(source, CLASSES, PAPER)
        self.images = torch.rand(BATCH, 3, SIDE, SIDE)
        with torch.no_grad():
            read = TAPS["timm"].read(encoder, self.images)
        self.taps = [tap.clone() for tap in read.values()]
        self.masks = torch.randint(0, CLASSES, (BATCH, SIDE, SIDE))

    def step(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Train on one batch."""
        model.train()
        loss = F.cross_entropy(model(self.images, self.taps), self.masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    @torch.inference_mode()
    def predict(self, model: nn.Module) -> Tensor:
        """Return logits."""
        found: Tensor = model.eval()(self.images, self.taps)
        return found


def in_turns(modules: Modules, other: nn.Module, name: str, rounds: int) -> None:
    """Time steps and predictions of the plain modules and of another form of them."""
    difference = (modules.predict(other) - modules.predict(modules.plain)).abs().max()
    exact = f"logits differ by {float(difference):.1e}"
    plain = copy.deepcopy(modules.plain)
    first, second = (
        torch.optim.AdamW(m.parameters(), lr=PAPER.lr, fused=True) for m in (plain, other)
    )
    found = times(
        {"now": lambda: modules.step(plain, first), "other": lambda: modules.step(other, second)},
        rounds,
    )
    told(f"{name}, training step", found["now"], found["other"], exact)
    found = times(
        {"now": lambda: modules.predict(plain), "other": lambda: modules.predict(other)}, rounds
    )
    told(f"{name}, evaluation", found["now"], found["other"], exact)


def folded(model: nn.Module) -> nn.Module:
    """Return a copy whose convolutions hold the batch norms after them."""
    copied = copy.deepcopy(model).eval()
    count = 0
    for parent in copied.modules():
        children = list(parent.named_children())
        for (_, conv), (name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                conv.weight, conv.bias = fused.weight, fused.bias
                setattr(parent, name, nn.Identity())
                count += 1
    print(f"{count} batch norms folded")
    return copied


def heads(rounds: int) -> None:
    """Compare an epoch of five heads, one after another and in one pass over the data."""
    torch.manual_seed(0)
    features, labels = torch.randn(SAMPLES, WIDTH), torch.randint(0, CLASSES, (SAMPLES,))
    single = [Head(WIDTH, CLASSES, 0.0) for _ in range(SEEDS)]
    weight = nn.Parameter(torch.stack([head.linear.weight.detach().T for head in single]))
    bias = nn.Parameter(torch.stack([head.linear.bias.detach()[None] for head in single]))
    optimisers = [torch.optim.AdamW(head.parameters(), lr=1e-3, fused=True) for head in single]
    together = torch.optim.AdamW([weight, bias], lr=1e-3, fused=True)
    orders = [torch.randperm(SAMPLES) for _ in range(SEEDS)]  # each seed has its own

    def one_after_another() -> None:
        for head, optimiser, order in zip(single, optimisers, orders, strict=True):
            for index in order.split(HEAD_BATCH):
                loss = F.cross_entropy(head(features[index]), labels[index])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()

    def in_one_pass() -> None:
        for index in torch.stack(orders).split(HEAD_BATCH, dim=1):
            logits = torch.baddbmm(bias, features[index], weight)  # [seeds, batch, classes]
            losses = F.cross_entropy(logits.flatten(0, 1), labels[index].flatten(), reduction="sum")
            together.zero_grad(set_to_none=True)
            (losses / index.shape[1]).backward()
            together.step()

    found = times({"now": one_after_another, "other": in_one_pass}, rounds)
    difference = max(
        float((head.linear.weight - weight[i].T).detach().abs().max())
        for i, head in enumerate(single)
    )
    told(
        f"{SEEDS} heads in one pass, an epoch",
        found["now"],
        found["other"],
        f"weights differ by {difference:.1e} after {rounds + 1} epochs",
    )


def compiled(model: nn.Module, warm: Callable[[nn.Module], object]) -> nn.Module:
    """Return the compiled module, and say how long compiling took."""
    start = time.perf_counter()
    made = torch.compile(copy.deepcopy(model))
    warm(made)  # type: ignore[arg-type]
    print(f"compiling took {time.perf_counter() - start:.0f} s")
    return made  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="Needs a C++ compiler, and minutes")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    heads(chosen.rounds)
    modules = Modules()
    last = copy.deepcopy(modules.plain).to(memory_format=torch.channels_last)
    in_turns(modules, last, "channels_last", chosen.rounds)
    plain, joined = copy.deepcopy(modules.plain), folded(modules.plain)
    difference = float((modules.predict(joined) - modules.predict(plain)).abs().max())
    found = times(
        {"now": lambda: modules.predict(plain), "other": lambda: modules.predict(joined)},
        chosen.rounds,
    )
    told("batch norms folded, evaluation", *found.values(), f"logits differ by {difference:.1e}")
    if chosen.compile:
        faster = compiled(modules.plain, modules.predict)
        in_turns(modules, faster, "torch.compile", chosen.rounds)


if __name__ == "__main__":
    main()
