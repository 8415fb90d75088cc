"""Tells whether released OmniRad weights were initialised from DINOv2.

    python -m omnirad.tools.forensics --size base --released published --dinov2 dinov2
    python -m omnirad.tools.forensics --size small --released FILE --dinov2 FILE

The paper does not say how training started. Ten epochs at a rate of 1.4e-4 leave LayerScale and
the patch embedding recognisable: they correlate with DINOv2's if training started there, and not
otherwise. Correlations are taken about the mean, since gammas are mostly positive, so that the
plain cosine of any two is high.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from omnirad.errors import IntegrityError, OmniradError
from omnirad.weights import locate, read_state

SAME = 0.9  # correlation above which weights have one origin
OTHER = 0.5  # and below which they have two


@dataclass(frozen=True)
class Likeness:
    """How alike two sets of weights are."""

    gammas: float  # mean over layers of the correlation of LayerScale
    gammas_cosine: float  # the same without centring, for comparison
    patch_embed: float  # correlation of the patch embedding
    gamma_size: tuple[float, float]  # median absolute gamma: released, DINOv2

    @property
    def verdict(self) -> str:
        """`dinov2`, `scratch` or `undecided`."""
        if min(self.gammas, self.patch_embed) > SAME:
            return "dinov2"
        return "scratch" if max(self.gammas, self.patch_embed) < OTHER else "undecided"


def compare(released: Mapping[str, Tensor], dinov2: Mapping[str, Tensor]) -> Likeness:
    """Compare two encoders of one architecture.

    Raises:
        IntegrityError: If LayerScale or the patch embedding is missing or of another shape.
    """
    patch = "patch_embed.proj.weight"
    gammas = [name for name in dinov2 if name.endswith((".ls1.gamma", ".ls2.gamma"))]
    if not gammas:
        raise IntegrityError("the DINOv2 file has no LayerScale: it is of another architecture")
    for name in (*gammas, patch):
        found = [tuple(s[name].shape) if name in s else None for s in (released, dinov2)]
        if found[0] != found[1] or found[0] is None:
            raise IntegrityError(
                f"{name} is {found[0]} in the released file and {found[1]} in DINOv2's; give two "
                "files of one size"
            )
    pairs = [(released[n].float(), dinov2[n].float()) for n in gammas]
    return Likeness(
        gammas=sum(correlation(a, b) for a, b in pairs) / len(pairs),
        gammas_cosine=sum(cosine(a, b) for a, b in pairs) / len(pairs),
        patch_embed=correlation(released[patch].float(), dinov2[patch].float()),
        gamma_size=(_size(released, gammas), _size(dinov2, gammas)),
    )


def correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's r of two tensors' values; 0 where one is constant."""
    return cosine(a - a.mean(), b - b.mean())


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two tensors taken as vectors; 0 where one is zero."""
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def _size(state: Mapping[str, Tensor], names: list[str]) -> float:
    return float(torch.cat([state[n].float().flatten() for n in names]).abs().median())


def main() -> None:
    """Print the comparison and its verdict."""
    parser = argparse.ArgumentParser(description="were OmniRad's weights initialised from DINOv2?")
    parser.add_argument("--size", default="base", choices=["small", "base"])
    parser.add_argument("--released", default="published", help="file, folder or 'published'")
    parser.add_argument("--dinov2", default="dinov2", help="file, folder or 'dinov2'")
    asked = parser.parse_args()
    try:
        states = [read_state(locate(w, asked.size)) for w in (asked.released, asked.dinov2)]
        found = compare(*states)
    except OmniradError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    print(
        f"LayerScale: correlation {found.gammas:.3f} (cosine {found.gammas_cosine:.3f}), "
        f"median size {found.gamma_size[0]:.2g}, DINOv2's {found.gamma_size[1]:.2g}\n"
        f"patch embedding: correlation {found.patch_embed:.3f}\n"
        f"verdict: {found.verdict}"
    )


if __name__ == "__main__":
    main()
