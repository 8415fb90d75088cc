"""Heads and probes from the store against encoding the same images again and again.

    OMP_NUM_THREADS=1 python tests/performance/cls_speed.py --rounds 3 [--data DIR]

A head step and a head-only study (no augmentation) of a small encoder at 224 pixels; the study is
added up from times per image. With a folder that holds `medmnist/breastmnist_224.npz`, `linear` is
run on it twice, from an empty store and from the one it leaves, and the records are compared.
Time is CPU time of the process.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from interleaved import times, told
from torch.nn import functional as F

from omnibench.cells import RunRequest
from omnibench.features.readings import POOLED
from omnibench.harness import execute
from omnibench.loading import as_images
from omnibench.planning import plan
from omnibench.registry import Registry
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.cls.classifier import Head, HeadOnly

BATCH, SIDE = 16, 224
STUDY = {"train": 546, "val": 78, "test": 156, "epochs": 40, "seeds": 5}  # BreastMNIST, official


def heads(rounds: int) -> None:
    """Compare a training step and a study of head-only tuning."""
    encoder = build("vit_small_patch14_dinov2", random_init=True).freeze()
    images = torch.randint(0, 256, (BATCH, 1, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.randint(0, 2, (BATCH,))
    torch.manual_seed(0)
    model = HeadOnly(Head(encoder.pooled_dim, 2, 0.4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    many = 100  # steps at a time: one is too short for the clock

    @torch.inference_mode()
    def encode() -> torch.Tensor:
        return POOLED.read(encoder, as_images(images, "cpu"))["checkpoint"]

    def step(pooled: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(pooled), labels).backward()
        optimizer.step()

    kept = encode().clone()
    assert torch.equal(kept, encode())
    found = times(
        {
            "slow": lambda: step(encode().clone()),
            "fast": lambda: [step(kept) for _ in range(many)],
            "encode": encode,
        },
        rounds,
    )
    fast = [seconds / many for seconds in found["fast"]]
    told(f"head step, batch {BATCH}", found["slow"], fast, "features equal")
    passes = STUDY["seeds"] * (
        STUDY["epochs"] * (STUDY["train"] + STUDY["val"]) + STUDY["val"] + STUDY["test"]
    )
    once = STUDY["train"] + STUDY["val"] + STUDY["test"]
    told(
        f"head-only study {STUDY}",
        [passes * seconds / BATCH for seconds in found["slow"]],
        [(once * e + passes * f) / BATCH for e, f in zip(found["encode"], fast, strict=True)],
    )


def linear(data: Path) -> None:
    """Run `linear` from an empty store and from a full one."""
    seconds, scores = [], []
    with TemporaryDirectory() as folder:
        for number in range(3):
            request = RunRequest(
                encoders=["dinov2-small"],
                task="linear",
                datasets=["breastmnist"],
                random_weights=True,
                device="cpu",
                data_root=data,
                allow_unverified=True,
                offline=True,
                cache=Path(folder) / "cache",
                results=Path(folder) / str(number),
            )
            start = time.process_time()
            [(_, record, path)] = execute(plan(request, Registry.discover()), request)
            seconds.append(time.process_time() - start)
            assert record.status == "complete", record.failure
            with np.load(path.parent / f"{record.predictions['sha256']}.npz") as arrays:
                scores.append(arrays["test_score"])
    assert all(np.array_equal(scores[0], other) for other in scores)
    told("linear on BreastMNIST, warm store", seconds[:1] * 2, seconds[1:], "equal scores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="Data root with BreastMNIST at 224 pixels")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    heads(chosen.rounds)
    if chosen.data:
        linear(chosen.data)


if __name__ == "__main__":
    main()
