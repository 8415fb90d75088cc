"""How many planted copies `omnibench audit` finds, and what it finds that nobody planted.

    OMP_NUM_THREADS=1 python tests/performance/audit_recall.py --data DIR [--seed 0] [--copies 40]

Copies of real images, changed in one way each (and once in four ways together), become further test
images of the real set. A pair is unplanned if it is neither planted nor among the real images alone
nor follows from both. The pairs among real images alone are counted too: look at them with
`omnibench audit`.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from omnibench.audit import audit
from omnibench.audit.findings import Findings
from omnibench.cards import SPLITS, DataAccess
from omnibench.interfaces import Dataset
from omnibench.registry import Registry

Array = np.ndarray[Any, Any]
Random = np.random.Generator


def brightened(image: Array, random: Random) -> Array:
    """Change contrast by 0.8 to 1.25 and brightness by 10 to 35 grey levels, with clipping."""
    gain, shift = random.uniform(0.8, 1.25), random.uniform(10, 35) * random.choice([-1, 1])
    changed = (image.astype(np.float64) - 128) * gain + 128 + shift
    return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)


def recompressed(image: Array, random: Random) -> Array:
    """Store as JPEG of quality 30 to 75."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=int(random.integers(30, 76)))
    return np.array(Image.open(stream))


def cropped(image: Array, random: Random) -> Array:
    """Cut 2 to 6 % off each axis, anywhere, and enlarge to the old size."""
    height, width = image.shape[:2]
    keep = 1 - random.uniform(0.02, 0.06, 2)
    h, w = round(height * keep[0]), round(width * keep[1])
    y, x = (int(random.integers(0, all_ - part + 1)) for all_, part in ((height, h), (width, w)))
    part = Image.fromarray(image[y : y + h, x : x + w])
    return np.array(part.resize((width, height), Image.Resampling.BICUBIC))


def rescaled(image: Array, random: Random) -> Array:
    """Shrink to 0.6 to 0.95 of the size."""
    factor = random.uniform(0.6, 0.95)
    height, width = image.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def turned(image: Array, random: Random) -> Array:
    """Turn by one, two or three quarters."""
    return np.rot90(image, int(random.integers(1, 4))).copy()


def fourfold(image: Array, random: Random) -> Array:
    """Crop, brighten, mirror and re-compress."""
    return recompressed(brightened(cropped(image, random), random)[:, ::-1].copy(), random)


CHANGES: Mapping[str, Callable[[Array, Random], Array]] = {
    "exact": lambda image, random: image.copy(),
    "mirrored": lambda image, random: image[:, ::-1].copy(),
    "upside down": lambda image, random: image[::-1].copy(),
    "turned": turned,
    "brightness": brightened,
    "JPEG": recompressed,
    "cropped": cropped,
    "rescaled": rescaled,
    "four together": fourfold,
}
EXACT = tuple(CHANGES)[:4]  # what is claimed below 128 pixels


@dataclass(frozen=True)
class PlantedSplit:
    """Images in memory; they have no targets."""

    images: Sequence[Array]
    first_id: int
    groups: None = None

    @property
    def ids(self) -> Array:
        return np.arange(self.first_id, self.first_id + len(self.images), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Array:
        return self.images[index]

    def target(self, index: int) -> None:
        return None


class Planted:
    """Real images of all splits, followed in test by changed copies of some of them.

    Sample ids are positions. `sources` holds, for each change, the ids of copy and original.
    """

    kind, classes, facts = "images", (), {}  # type: ignore[var-annotated]

    def __init__(
        self, dataset: Dataset, changes: Sequence[str], copies: int, seed: int, limit: int = 10**9
    ) -> None:
        random = np.random.default_rng(seed)
        splits = [dataset.split(name) for name in SPLITS]
        real = [[s.image(i) for i in range(min(limit, len(s)))] for s in splits]
        images = [image for split in real for image in split]
        each = min(copies, len(images) // len(changes))
        chosen = random.choice(len(images), (len(changes), each), replace=False)
        self.name, self.digest = dataset.name, f"{dataset.digest} {seed} {each}"
        self.real = len(images)
        self.sources: dict[str, list[tuple[int, int]]] = {}
        planted: list[Array] = []
        for change, sources in zip(changes, chosen, strict=True):
            for source in sources.tolist():
                pair = (self.real + len(planted), source)
                self.sources.setdefault(change, []).append(pair)
                planted.append(CHANGES[change](images[source], random))
        starts = np.cumsum([0, *map(len, real)]).tolist()
        self._splits = dict(zip(SPLITS, map(PlantedSplit, real, starts[:3]), strict=True))
        self.test_images = len(real[2]) + len(planted)
        self._splits["test"] = PlantedSplit([*real[2], *planted], starts[2])

    def split(self, name: str) -> PlantedSplit:
        return self._splits[name]


def pairs(found: Findings) -> set[frozenset[int]]:
    """Return pairs as sets of two ids."""
    return {frozenset((pair.first.id, pair.second.id)) for pair in found.pairs}


def judged(planted: Planted, found: Findings) -> tuple[dict[str, float], int, int]:
    """Return recall by change, unplanned pairs with a planted copy, and pairs of real images.

    Copies of an image found with another image are planned if the original is found with it too.
    """
    linked = pairs(found)
    recall = {
        change: float(np.mean([_connected(frozenset(pair), linked) for pair in sources]))
        for change, sources in planted.sources.items()
    }
    origin = {copy: source for sources in planted.sources.values() for copy, source in sources}
    real = {pair for pair in linked if max(pair) < planted.real}
    unplanned = 0
    for pair in linked - real:
        originals = frozenset(origin.get(member, member) for member in pair)
        unplanned += len(originals) == 2 and not _connected(originals, real)
    return recall, unplanned, len(real)


def _connected(pair: frozenset[int], links: set[frozenset[int]]) -> bool:
    """Tell whether two images are linked, directly or through a third."""
    one, other = pair
    near = [{b for link in links if a in link for b in link} for a in (one, other)]
    return pair in links or bool(near[0] & near[1])


SETS: Mapping[str, tuple[str, int | None, Mapping[str, str]]] = {
    "busi 256 px": ("busi", 256, {}),
    "busi 128 px": ("busi", 128, {}),
    "breastmnist 224 px": ("breastmnist", 224, {}),
    "breastmnist 64 px": ("breastmnist", 64, {}),
    "breastmnist 28 px": ("breastmnist", 28, {}),
    "pneumoniamnist 28 px": ("pneumoniamnist", 28, {}),
    "hannover_cxr": ("folder:{data}/hannover_cxr", None, {"label_column": "projection"}),
    "roco_ccby": ("folder:{data}/roco_ccby", None, {}),
    "mni152-plane": ("mni152-plane", None, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--set", action="append", dest="sets", choices=SETS)
    options = parser.parse_args()
    registry = Registry.discover()
    for name in options.sets or SETS:
        reference, size, settings = SETS[name]
        card = registry.dataset(reference.format(data=options.data)).card
        access = DataAccess(
            root=options.data, allow_unverified=True, source_size=size, options=settings
        )
        changes = EXACT if size == 28 else tuple(CHANGES)
        planted = Planted(card.open(access), changes, options.copies, options.seed)
        began = time.process_time()
        found = audit(planted)  # type: ignore[arg-type]
        seconds = time.process_time() - began
        recall, unplanned, real = judged(planted, found)
        told = ", ".join(f"{change} {share:.3f}" for change, share in recall.items())
        print(
            f"{name}: {planted.real} real images, {len(next(iter(planted.sources.values())))} "
            f"copies a change; {told}; unplanned {unplanned} pairs = "
            f"{100 * unplanned / planted.test_images:.2f} per 100 test images; {real} pairs of real "
            f"images; {seconds:.1f} s of CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
