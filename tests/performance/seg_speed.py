"""Segmentation against the straightforward way: images, counting, a step, evaluation, a study.

    OMP_NUM_THREADS=1 python tests/performance/seg_speed.py --encoder small --rounds 5

The straightforward way decodes a PNG and runs the frozen encoder for every image, epoch and seed,
lays maps out on full grids, counts class by class, and steps AdamW without fusing. Random weights
and made-up images: speed depends on neither. The study is added up from times per image.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from interleaved import Times, times, told
from PIL import Image
from seg_straightforward import counts_by_masks, optimizer, written_out
from torch import Tensor
from torch.nn import functional as F

from omnibench.features.cache import FeatureStore
from omnibench.features.rows import Layout, StoredRows, Tensors, computed_once
from omnibench.loading import as_images
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.seg.evaluate import pixel_counts, top_class
from omnibench_plugins.tasks.seg.model import SegmentationModel, Source
from omnibench_plugins.tasks.seg.recipe import PAPER
from omnibench_plugins.tasks.seg.taps import TAPS, tapped

SIDE, CLASSES, IMAGES = 448, 2, 4
ENCODERS = {"small": "vit_small_patch14_dinov2", "base": "vit_base_patch14_dinov2"}
STUDY = {"train": 452, "val": 64, "test": 131, "epochs": 20, "seeds": 5}  # BUSI's 647, official


class Setting:
    """One encoder, a few images as PNG and in the store, and the modules, twice."""

    def __init__(self, name: str, batch: int, root: Path) -> None:
        torch.manual_seed(0)
        self.batch, self.turn = batch, 0
        draw = np.random.default_rng(0)
        self.files = [
            _png(draw.integers(0, 256, (512, 512), dtype=np.uint8)) for _ in range(IMAGES)
        ]
        self.encoder = build(ENCODERS[name], random_init=True).freeze()
        self.masks = torch.randint(0, CLASSES, (IMAGES, SIDE, SIDE))
        channels = tuple(self.encoder.layer_channels[i] for i in tapped(self.encoder))
        mean, std = (tuple(t.flatten().tolist()) for t in (self.encoder.mean, self.encoder.std))
        source = Source(self.encoder.embed_dim, channels, mean, std)
        self.model = SegmentationModel(source, CLASSES, PAPER)
        self.twin = written_out(self.model)
        self.fast, self.slow = optimizer(self.model, fused=True), optimizer(self.twin, fused=False)
        store = FeatureStore(root, 10**10)
        self.images = self._kept(store, "images", lambda i: {"image": self.decoded(i)})
        self.taps = self._kept(
            store, "taps", lambda i: self.read(as_images(self.decoded(i), "cpu"))
        )

    def _kept(
        self, store: FeatureStore, kind: str, compute: Callable[[Tensor], Tensors]
    ) -> StoredRows:
        layout: Layout = Layout.of(compute(torch.arange(1)))
        rows = computed_once(
            store, {"kind": kind}, layout, IMAGES, compute, what=kind, advance=lambda _: None
        )
        assert isinstance(rows, StoredRows)
        return rows

    def index(self) -> Tensor:
        """Return the next few images."""
        self.turn += self.batch
        return torch.arange(self.turn, self.turn + self.batch) % IMAGES

    def decoded(self, index: Tensor) -> Tensor:
        """Decode and resize PNGs: uint8 [b, 1, S, S]."""
        arrays = [np.asarray(Image.open(io.BytesIO(self.files[i]))) for i in index.tolist()]
        batch = torch.from_numpy(np.stack(arrays))[:, None]
        return F.interpolate(batch, size=(SIDE, SIDE), mode="bilinear", align_corners=False)

    @torch.inference_mode()
    def read(self, images: Tensor) -> Tensors:
        """Run the frozen encoder."""
        return TAPS["timm"].read(self.encoder, images)

    def inputs(self, stored: bool, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return images and taps, from the store or made anew."""
        if stored:
            images = as_images(self.images.read(index)["image"], "cpu")
            return images, list(self.taps.read(index).values())
        images = as_images(self.decoded(index), "cpu")
        return images, [tap.clone() for tap in self.read(images).values()]

    def step(self, stored: bool) -> None:
        """Train on one batch."""
        model, optimiser = (self.model, self.fast) if stored else (self.twin, self.slow)
        index = self.index()
        logits = model.train()(*self.inputs(stored, index))
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits, self.masks[index]).backward()
        optimiser.step()

    @torch.no_grad()
    def predict(self, stored: bool) -> None:
        """Predict and count one batch."""
        index = self.index()
        model = self.model if stored else self.twin
        logits = model.eval()(*self.inputs(stored, index))
        masks = self.masks[index]
        if stored:
            pixel_counts(top_class(logits), masks.to(torch.uint8), CLASSES)
        else:
            counts_by_masks(logits, masks)

    def encode(self) -> None:
        """Encode one batch, as extraction does once."""
        self.taps.layout.pack(self.read(as_images(self.decoded(self.index()), "cpu")))

    def difference(self, training: bool) -> float:
        """Return the largest difference of logits, relative to the largest logit."""
        fresh = written_out(self.model).train(training)
        mine = SegmentationModel.train(self.model, training)
        with torch.no_grad():
            index = torch.arange(self.batch)
            expected = fresh(*self.inputs(False, index))
            found = mine(*self.inputs(True, index))
        return float((found - expected).abs().max() / expected.abs().max())


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def counting(rounds: int) -> None:
    """Compare counting for several numbers of classes."""
    for classes in (2, 3, 11):
        draw = torch.Generator().manual_seed(classes)
        logits = torch.randn(4, classes, SIDE, SIDE, generator=draw)
        masks = torch.randint(0, classes, (4, SIDE, SIDE), generator=draw).to(torch.uint8)
        found = times(
            {
                "slow": lambda: counts_by_masks(logits, masks),  # noqa: B023
                "fast": lambda: pixel_counts(top_class(logits), masks, classes),  # noqa: B023
            },
            rounds,
        )
        same = pixel_counts(top_class(logits), masks, classes).tolist()
        assert same == counts_by_masks(logits, masks)
        told(f"counting, {classes} classes", found["slow"], found["fast"], "integer-equal")


def study(step: Times, predict: Times, encode: list[float], batch: int) -> None:
    """Add up a study from times per image; extraction is charged once."""
    trained = STUDY["seeds"] * STUDY["epochs"] * STUDY["train"]
    predicted = STUDY["seeds"] * ((STUDY["epochs"] + 1) * STUDY["val"] + STUDY["test"])
    images = STUDY["train"] + STUDY["val"] + STUDY["test"]
    slow = [
        (trained * s + predicted * p) / batch
        for s, p in zip(step["slow"], predict["slow"], strict=True)
    ]
    fast = [
        (trained * s + predicted * p + images * e) / batch
        for s, p, e in zip(step["fast"], predict["fast"], encode, strict=True)
    ]
    told(f"whole study {STUDY}", slow, fast)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", choices=ENCODERS, default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    counting(chosen.rounds)
    with TemporaryDirectory() as folder:
        setting = Setting(chosen.encoder, chosen.batch, Path(folder))
        every = torch.arange(IMAGES)
        assert torch.equal(setting.decoded(every), setting.images.read(every)["image"])
        paths = times(
            {
                "slow": lambda: as_images(setting.decoded(every), "cpu"),
                "fast": lambda: as_images(setting.images.read(every)["image"], "cpu"),
            },
            3 * chosen.rounds,
        )
        told("images from 512 px PNG", paths["slow"], paths["fast"], "equal")
        print(
            f"logits differ by {setting.difference(False):.1e} (evaluation), "
            f"{setting.difference(True):.1e} (training) of the largest",
            flush=True,
        )
        step = times(
            {"slow": lambda: setting.step(False), "fast": lambda: setting.step(True)}, chosen.rounds
        )
        told(f"training step, {chosen.encoder}", step["slow"], step["fast"])
        predict = times(
            {"slow": lambda: setting.predict(False), "fast": lambda: setting.predict(True)},
            chosen.rounds,
        )
        told(f"evaluation, {chosen.encoder}", predict["slow"], predict["fast"])
        encode = times({"encode": setting.encode}, chosen.rounds)["encode"]
        print(f"encoder alone: {median(encode) / chosen.batch:.3g} s an image")
        study(step, predict, encode, chosen.batch)


if __name__ == "__main__":
    main()
