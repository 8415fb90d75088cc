"""How frozen features are probed; protocols of our own, the paper has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from omnibench.errors import UsageError, suggestion
from omnibench.interfaces import Normalization, Pool

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

    def __post_init__(self) -> None:
        """Refuse sizes that no image can have."""
        for name in ("image_size", "source_size"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; use --set {name}=N with N > 0")


@dataclass(frozen=True, kw_only=True)
class KnnRecipe(ProbeRecipe):
    """Weighted nearest neighbours; k and temperature are DINO's (Caron et al. 2021, Sec. 4.1)."""

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        """Refuse a vote without voters."""
        super().__post_init__()
        if self.k < 1 or not self.temperature > 0:
            raise UsageError(
                f"k is {self.k} and temperature {self.temperature}; both must be positive"
            )


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
        if not self.grid or min(self.grid) <= 0:
            raise UsageError(f"grid is {self.grid}; it needs at least one value, all positive")


RECIPES = ("fair", "quick")

R = TypeVar("R", bound=ProbeRecipe)


def named_recipe(default: R, task: str, name: str, tuning: str | None) -> R:
    """Return `fair` (the default) or `quick` (112 px, at most 60/20/40 images) of a probe.

    Raises:
        UsageError: For a recipe that does not exist, or any tuning.
    """
    if tuning is not None:
        raise UsageError(f"task {task!r} has no tunings; leave --tuning {tuning} out")
    if name == "fair":
        return default
    if name == "quick":
        return replace(default, image_size=112, max_images=(60, 20, 40))
    raise UsageError(
        f"task {task!r} has no recipe {name!r}.{suggestion(name, RECIPES)} "
        f"It has: {', '.join(RECIPES)}"
    )
