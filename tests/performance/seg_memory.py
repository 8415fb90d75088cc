"""Peak resident memory of segmentation runs of 100 and of 400 images, each in its own process.

    OMP_NUM_THREADS=1 python tests/performance/seg_memory.py [--size 448] [--no-cache]

Made-up grey PNGs in a folder, read one by one, so that what grows with their number is the run's.
The peak is that of the process, over one epoch and the final predictions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

SIDE = 448


def make(root: Path, count: int) -> None:
    """Write images and masks: a bright square on noise."""
    draw = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        image = draw.integers(0, 100, (SIDE, SIDE), dtype=np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        top, left = draw.integers(0, SIDE // 2, 2)
        image[top : top + 100, left : left + 100] = 220
        mask[top : top + 100, left : left + 100] = 255
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")


def peak(root: Path, work: Path, *options: str) -> float:
    """Return the peak in MB that a run's record holds."""
    command = [sys.executable, "-m", "omnibench", "run", "--encoder", "timm:test_vit"]
    command += ["--random-weights", "--task", "seg", "--dataset", f"folder:{root}", "--seed", "0"]
    command += ["--set", "epochs=1", "--set", "batch_size=4"]
    command += ["--device", "cpu", "--cache", str(work / "cache"), "--results", str(work / "r")]
    done = subprocess.run([*command, *options, "--json"], check=True, capture_output=True)
    [path] = json.loads(done.stdout)[0]["records"]
    return json.loads(Path(path).read_text())["cost"]["peak_memory_bytes"] / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--no-cache", action="store_true", help="Hold everything in memory")
    chosen = parser.parse_args()
    options = ["--set", f"image_size={chosen.size}"] + ["--no-cache"] * chosen.no_cache
    with TemporaryDirectory() as folder:
        for count in (100, 400):
            root = Path(folder) / str(count)
            make(root, count)
            found = peak(root, Path(folder) / f"work{count}", *options)
            print(f"{count} images of {chosen.size} px: peak {found:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
