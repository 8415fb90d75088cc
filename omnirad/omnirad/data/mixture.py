"""Several sources as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from omnirad.data.sources import Array, Content, Sample, Source


@dataclass(frozen=True)
class Mixture:
    """Sources one after the other (a `Source`); names that repeat are told apart by a number."""

    sources: Sequence[Source]

    @property
    def name(self) -> str:
        """The sources' names."""
        named = zip(self.sources, self._suffixes, strict=True)
        return "+".join(source.name + suffix for source, suffix in named)

    def __len__(self) -> int:
        """Number of images N."""
        return self._ends[-1]

    def sample(self, index: int) -> Sample:
        """Return what is known of an image."""
        which, position = self._place(index)
        sample, suffix = self.sources[which].sample(position), self._suffixes[which]
        return replace(sample, source=sample.source + suffix) if suffix else sample

    def image(self, index: int) -> Array:
        """Return an image: uint8 [H, W] or [H, W, 3]."""
        which, position = self._place(index)
        return self.sources[which].image(position)

    def inspect(self, index: int) -> Content:
        """Check and digest an image."""
        which, position = self._place(index)
        return self.sources[which].inspect(position)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(source) for source in self.sources))

    @cached_property
    def _suffixes(self) -> tuple[str, ...]:
        """What is added to the name of each source: nothing, or `#2` for the second of a name."""
        names = [source.name for source in self.sources]
        repeats = [names[:position].count(name) for position, name in enumerate(names)]
        return tuple(f"#{repeat + 1}" if repeat else "" for repeat in repeats)

    def _place(self, index: int) -> tuple[int, int]:
        """Return which source an image is in, and where."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which else 0)
