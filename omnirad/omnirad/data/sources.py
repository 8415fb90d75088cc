"""What every source of pretraining images is: a list of images with stable ids.

Sources hold no random state. What a run draws from them depends on ids and on (seed, epoch) only,
so that a packed copy of a folder yields the samples of the folder in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

TRAIN = ("train",)
SHOWN = 3  # names an error message lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is known of an image without opening it.

    Args:
        id: Stable and unique in its source: a path relative to the root, with slashes, or
            `<split>/<position>`.
        source: Name of the source; never a path of this machine.
        modality: `CT`, `MR`, `US`, or empty where unknown.
        anatomy: For instance `brain`, or empty where unknown.
        label: Name of the class, or empty; never used by self-supervised training.
        split: `train`, `val` or `test`.
    """

    id: str
    source: str
    modality: str = ""
    anatomy: str = ""
    label: str = ""
    split: str = "train"

    @property
    def stratum(self) -> str:
        """What balanced sampling balances: modality × anatomy where known, and the source."""
        return "/".join(part for part in (self.source, self.modality, self.anatomy) if part)


class Content(NamedTuple):
    """What is known of an image once its bytes were read and found complete."""

    height: int
    width: int
    sha1: str  # of the file's bytes, or of the pixels where there is no file


class Source(Protocol):
    """Images in a fixed order. Sources can be pickled, for worker processes."""

    @property
    def name(self) -> str:
        """Name as shown; never a path."""

    def __len__(self) -> int:
        """Number of images N."""

    def sample(self, index: int) -> Sample:
        """Return what is known of an image."""

    def image(self, index: int) -> Array:
        """Return an image: uint8, grey [H, W] or RGB [H, W, 3].

        Raises:
            DataError: If it cannot be decoded.
        """

    def inspect(self, index: int) -> Content:
        """Read an image's bytes once, check that they are complete, and digest them.

        Raises:
            DataError: If they are not.
        """


def stratum_codes(source: Source) -> tuple[Array, tuple[str, ...]]:
    """Return the stratum of every image as a code, int64 [N], and the strata's names."""
    strata = [source.sample(index).stratum for index in range(len(source))]
    names = sorted(set(strata))
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[stratum] for stratum in strata], dtype=np.int64), tuple(names)


def listed(names: Iterable[str]) -> str:
    """Return the first few names and how many more there are."""
    ordered: Sequence[str] = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more
