"""How frozen features are probed; protocols of our own, the paper has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omnibench.cards import Normalization, Pool
from omnibench.errors import UsageError
from omnibench_plugins.tasks.checks import require_images, require_positive

Chosen = Literal["pooled", "mean", "pooled+mean"]


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    """What both probes share: how features are made.

    `features` are the pooled output (by default the class token), the mean patch token, or
    both side by side.
    """

    normalization: Normalization = "own"
    pool: Pool = "cls"
    source_size: int = 224  # pixels
    image_size: int = 224  # pixels; squashed, bilinear with antialias
    features: Chosen = "pooled"
    max_images: tuple[int, int, int] | None = None  # train, val, test
    seeds: int = 1  # nothing is drawn

    @property
    def idle(self) -> tuple[str, ...]:
        """Fields without effect: the mean patch token alone needs no pooling."""
        return () if "pooled" in self.features.split("+") else ("pool",)

    def __post_init__(self) -> None:
        """Refuse sizes that no image or split can have."""
        require_positive(self, "image_size", "source_size", "seeds")
        require_images(self)


@dataclass(frozen=True, kw_only=True)
class KnnRecipe(ProbeRecipe):
    """Weighted nearest neighbours; k and temperature are DINO's (Caron et al. 2021, Sec. 4.1)."""

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        """Refuse a vote without voters."""
        super().__post_init__()
        require_positive(self, "k", "temperature")


@dataclass(frozen=True, kw_only=True)
class LinearRecipe(ProbeRecipe):
    """Logistic regression on standardised features; C is chosen on validation data."""

    features: Chosen = "pooled+mean"
    # Inverse strengths of the L2 penalty, decades around the usual 1. On a few hundred separable
    # samples validation is flat towards large C; the record holds its score at every C.
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        """Refuse an empty or impossible grid."""
        super().__post_init__()
        require_positive(self, "max_iterations")
        if not self.grid or min(self.grid) <= 0:
            raise UsageError(f"grid is {self.grid}; it needs at least one value, all positive")


# `quick` means 112 px, at most 60/20/40 images
KNN = {"fair": KnnRecipe(), "quick": KnnRecipe(image_size=112, max_images=(60, 20, 40))}
LINEAR = {"fair": LinearRecipe(), "quick": LinearRecipe(image_size=112, max_images=(60, 20, 40))}
