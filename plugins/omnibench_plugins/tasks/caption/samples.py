"""Captions and images of the three splits, checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from omnibench.cards import SPLITS
from omnibench.errors import IntegrityError
from omnibench.interfaces import Dataset, Split

FEWEST = 2  # training captions; one cannot show that a model looks at images
SHOWN = 5  # ids that messages name


@dataclass(frozen=True)
class Texts:
    """The captions of one split."""

    split: Split
    captions: list[tuple[str, ...]]  # of each image, one or several

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def pairs(self) -> list[tuple[int, str]]:
        """Every caption with the index of its image: what is trained on."""
        return [(row, text) for row, texts in enumerate(self.captions) for text in texts]


def read_texts(dataset: Dataset) -> dict[str, Texts]:
    """Read and check the captions of every split; no image is decoded.

    Raises:
        IntegrityError: If an image has no caption, one is empty, or there are too few.
    """
    texts = {name: _checked(dataset, name) for name in SPLITS}
    if len(texts["train"].pairs) < FEWEST:
        raise IntegrityError(
            f"dataset {dataset.name!r} has {len(texts['train'].pairs)} training captions; at least "
            f"{FEWEST} are needed, and hundreds to learn from"
        )
    return texts


def _checked(dataset: Dataset, name: str) -> Texts:
    split = dataset.split(name)
    if not len(split):
        raise IntegrityError(f"split {name!r} of dataset {dataset.name!r} has no images")
    captions = [split.target(row) for row in range(len(split))]
    wrong = [
        str(split.ids[row])
        for row, texts in enumerate(captions)
        if not (
            isinstance(texts, tuple)
            and texts
            and all(isinstance(text, str) and text.strip() for text in texts)
        )
    ]
    if wrong:
        raise IntegrityError(
            f"{len(wrong)} of {len(split)} images in split {name!r} of dataset {dataset.name!r} "
            f"have no caption or an empty one: ids {', '.join(wrong[:SHOWN])}"
            f"{', …' if len(wrong) > SHOWN else ''}; write captions for them, or leave them out"
        )
    return Texts(split, captions)
