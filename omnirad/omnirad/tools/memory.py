"""Works out the memory of one training step on tensors that have sizes and no values.

    python -m omnirad.tools.memory paper --size base

Every tensor that a step makes is counted from when it is made until it is freed: networks,
gradients, AdamW's moments, activations, logits. Not counted: the CUDA context, workspaces of
matrix products and collectives, and what the allocator loses to fragments.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omnirad.optimiser import build_optimiser, clip_gradients
from omnirad.presets import PRESETS, preset
from omnirad.recipe import PretrainRecipe
from omnirad.student_teacher import CROPS, Hidden, StudentTeacher, build_student

GIB = 2**30
CAPACITY = 80e9  # bytes of the GPU that the paper's runs are taken to have used
HEADROOM = 8e9  # bytes left for what is not counted


@dataclass(frozen=True)
class Footprint:
    """Bytes of one rank."""

    networks: int  # student and teacher
    training: int  # gradients and AdamW's moments
    peak: int  # the most that is alive at one time in a step, all of it counted

    @property
    def fits(self) -> bool:
        """Whether the peak leaves room on an 80 GB GPU."""
        return self.peak + HEADROOM <= CAPACITY


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that are alive, and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._watch(leaf.untyped_storage())
        return out

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


@contextmanager
def sizes_only() -> Iterator[LiveBytes]:
    """Make tensors without values for the time of a `with`, and count them."""
    counter = LiveBytes()
    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        yield counter


def footprint(recipe: PretrainRecipe) -> Footprint:
    """Run one step of `recipe` in bf16 without values and return what it needs.

    Args:
        recipe: Any; its initial weights are not read.
    """
    recipe = replace(recipe, init="random")
    crops, tokens = CROPS * recipe.batch_size, recipe.tokens()
    masked = int(crops * recipe.mask_probability * tokens * sum(recipe.mask_ratio) / 2)
    with torch.device("meta"):
        student = build_student(recipe, seed=0, device="meta")
        pair = StudentTeacher(student, recipe, seed=0, precision="bf16")
    with sizes_only() as live:
        for network in (pair.student, pair.teacher):
            network.to_empty(device="cpu")  # where autocast and fused attention are known
        networks = live.now
        optimiser = build_optimiser(student, recipe)
        for _ in range(2):  # AdamW makes its moments at the end of the first
            hidden = Hidden(
                torch.zeros(crops, tokens, dtype=torch.bool),
                torch.zeros(masked, dtype=torch.int64),
                torch.zeros(masked),
            )
            images = torch.zeros(crops, 3, recipe.crop_size, recipe.crop_size)
            found = pair.compute(images, hidden, step=0, teacher_temp=0.04, measured=True)
            found.total.backward()  # type: ignore[no-untyped-call]
            del found, images, hidden
            clip_gradients(student, recipe.clip_norm)
            optimiser.step()
            training = live.now - networks
            optimiser.zero_grad()
            pair.update_teacher(0.99)
    return Footprint(networks, training, live.peak)


def main() -> None:
    """Print the footprint of a preset; exit with 1 if it does not fit."""
    parser = argparse.ArgumentParser(description="memory of one training step, on one rank")
    parser.add_argument("preset", nargs="?", default="paper", choices=list(PRESETS))
    parser.add_argument("--size", help="small or base")
    parser.add_argument("--chunk-rows", type=int, help="instead of the recipe's")
    asked = parser.parse_args()
    recipe = preset(asked.preset, asked.size)
    if asked.chunk_rows:
        recipe = replace(recipe, chunk_rows=asked.chunk_rows)
    found = footprint(recipe)
    print(
        f"{asked.preset} {recipe.size}, batch {recipe.batch_size}, {recipe.prototypes} prototypes, "
        f"chunks of {recipe.chunk_rows} rows\n"
        f"  networks           {found.networks / GIB:6.2f} GiB\n"
        f"  gradients, moments {found.training / GIB:6.2f} GiB\n"
        f"  peak of a step     {found.peak / GIB:6.2f} GiB\n"
        f"  {'fits' if found.fits else 'DOES NOT FIT'} an 80 GB GPU with {HEADROOM / 1e9:.0f} GB "
        f"kept free ({(CAPACITY - found.peak) / 1e9:.1f} GB are left)"
    )
    raise SystemExit(0 if found.fits else 1)


if __name__ == "__main__":
    main()
