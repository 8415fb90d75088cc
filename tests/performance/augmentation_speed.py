"""Images a second that one core crops and augments (two crops each), and how fast they are read.

    OMP_NUM_THREADS=1 python tests/performance/augmentation_speed.py

Time is CPU time, which other work on the machine disturbs little. The policy `dinov2` is measured against torchvision's transforms of the same probabilities on the
same grey images, interleaved. Prints median, lowest and highest of several rounds.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torchvision.transforms import v2

from omnirad.data.augmentation import POLICIES, DinoV2
from omnirad.data.batches import PretrainBatches
from omnirad.data.decoding import decode
from omnirad.data.files import open_folder
from omnirad.data.packing import pack
from omnirad.data.sources import Content, Sample

SIDE, IMAGES, ROUNDS = 256, 64, 9


class InMemory:
    """Decoded images, so that only crops and augmentation are timed."""

    name = "memory"

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int) -> Sample:
        return Sample(id=str(index), source=self.name)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def inspect(self, index: int) -> Content:
        image = self.images[index]
        sha1 = hashlib.sha1(image.tobytes(), usedforsecurity=False).hexdigest()
        return Content(*image.shape[:2], sha1)


def pictures() -> list[np.ndarray]:
    """Smooth pictures with some grain, grey, 256 pixels a side."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(IMAGES):
        smooth = ndimage.gaussian_filter(rng.random((SIDE, SIDE)), 6)
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        grain = rng.normal(0, 0.02, smooth.shape)
        images.append((np.clip(smooth + grain, 0, 1) * 255).astype(np.uint8))
    return images


def torchvision_policy(size: int) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """Return both views of `DinoV2` in torchvision's transforms; colour is left out, as it is grey."""
    ours = DinoV2()

    def view(number: int) -> v2.Compose:
        blur = v2.GaussianBlur(9, ours.sigma)
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, (0.32, 1.0), interpolation=3, antialias=True),
                v2.RandomHorizontalFlip(ours.flip),
                v2.RandomApply([v2.ColorJitter(ours.brightness, ours.contrast)], ours.jitter),
                v2.RandomApply([blur], ours.blur[number]),
                v2.RandomSolarize(128, ours.solarize[number]),
            ]
        )

    return [view(0), view(1)]


def timed(name: str, runs: dict[str, Callable[[], object]], images: int = IMAGES) -> None:
    """Print the speed of every run, taking turns."""
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(ROUNDS + 1):
        for label, run in runs.items():
            start = time.process_time()
            run()
            seconds[label].append(time.process_time() - start)
    for label, spent in seconds.items():
        speeds = [images / second for second in spent[1:]]  # the first round warms up
        print(
            f"{name:<14} {label:<28} {median(speeds):7.0f} images/s "
            f"({min(speeds):.0f} to {max(speeds):.0f})"
        )


def crops_and_augmentation(images: list[np.ndarray]) -> None:
    """Time every policy at both sizes."""
    planes = [torch.from_numpy(image)[None] for image in images]
    for size in (56, 224):
        runs: dict[str, Callable[[], object]] = {}
        for policy in POLICIES:
            prepared = PretrainBatches(
                InMemory(images), batch_size=IMAGES, crop_size=size, seed=0, policy=policy
            )
            steps = iter(range(10**6))
            runs[policy] = lambda p=prepared, s=steps: p.batch(next(s))  # type: ignore[misc]
        views = torchvision_policy(size)
        runs["dinov2 of torchvision, grey"] = lambda v=views: torch.stack(  # type: ignore[misc]
            [view(plane) for view in v for plane in planes]
        )
        timed(f"{size} px", runs)


def reading(images: list[np.ndarray]) -> None:
    """Time decoding, from memory and from packed shards."""
    encoded = {}
    for kind in ("PNG", "JPEG"):
        encoded[kind] = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, kind)
            encoded[kind].append(buffer.getvalue())
    with TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        for number, data in enumerate(encoded["PNG"]):
            (root / f"{number}.png").write_bytes(data)
        source = open_folder(root)
        as_png = pack(source, Path(folder) / "png")
        as_raw = pack(source, Path(folder) / "raw", encoding="raw")
        timed(
            f"read, {SIDE} px",
            {
                "decode PNG": lambda: [decode(data, "") for data in encoded["PNG"]],
                "decode JPEG": lambda: [decode(data, "") for data in encoded["JPEG"]],
                "folder of PNG": lambda: [source.image(i) for i in range(IMAGES)],
                "packed png, digest checked": lambda: [as_png.image(i) for i in range(IMAGES)],
                "packed raw, digest checked": lambda: [as_raw.image(i) for i in range(IMAGES)],
            },
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    drawn = pictures()
    crops_and_augmentation(drawn)
    reading(drawn)
