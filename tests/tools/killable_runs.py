"""Small runs of every task that trains, killed at random times until they are through.

The test's own process imports everything and runs each case once, undisturbed; children are forked
from it, so that an attempt costs no more than its run. No thread computes before a fork.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import children
import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from transformers import BartConfig

import omnibench_plugins.tasks
from omnibench import hookimpl, unfinished
from omnibench.cards import DataAccess, DatasetSpec, EncoderSpec
from omnibench.cells import Cell, RunRequest
from omnibench.encoder import Encoder, Features
from omnibench.harness import execute
from omnibench.interfaces import Progress
from omnibench.planning import plan
from omnibench.records import RunRecord
from omnibench.registry import Registry
from omnibench.store import Store
from omnibench_plugins.tasks.caption import language_model
from omnibench_plugins.tasks.caption.language_model import scratch_config
from omnibench_plugins.tasks.seg import model as seg_model
from omnibench_plugins.tasks.seg.hybrid import Width

SHARE = 0.7  # of an undisturbed run's time: later, few attempts are still running
SIZES = {"train": 24, "val": 8, "test": 12}
SIDE = 32


@dataclasses.dataclass(frozen=True)
class Squares:
    """Noisy images with one bright square in one of four corners: its label, mask or caption."""

    kind: str
    start: int
    count: int
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(self.start, self.start + self.count, dtype=np.int64)

    def __len__(self) -> int:
        return self.count

    def corner(self, index: int) -> tuple[slice, slice]:
        y, x = divmod((self.start + index) % 4, 2)
        half = SIDE // 2
        return slice(y * half, (y + 1) * half), slice(x * half, (x + 1) * half)

    def image(self, index: int) -> np.ndarray[Any, Any]:
        noise = np.random.default_rng(self.start + index).normal(60, 25, (SIDE, SIDE))
        noise[self.corner(index)] += 60
        return noise.clip(0, 255).astype(np.uint8)

    def target(self, index: int) -> Any:
        corner = (self.start + index) % 4
        if self.kind == "labels":
            return corner
        if self.kind == "captions":
            return (f"A bright {'lower' if corner > 1 else 'upper'} field number {corner}.",)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[self.corner(index)] = 1
        return mask


@dataclasses.dataclass(frozen=True)
class SquaresDataset:
    kind: str
    digest: str = "ab" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"squares-{self.kind}"

    @property
    def classes(self) -> tuple[str, ...]:
        return {"labels": tuple("abcd"), "masks": ("no", "yes"), "captions": ()}[self.kind]

    def split(self, name: str) -> Squares:
        names = list(SIZES)
        start = sum(SIZES[each] for each in names[: names.index(name)])
        return Squares(self.kind, start, SIZES[name])


class TinyEncoder(Encoder):
    """A transformer of three blocks, width 32, 8-pixel patches."""

    def __init__(self) -> None:
        vit = VisionTransformer(
            img_size=SIDE,
            patch_size=8,
            embed_dim=32,
            depth=3,
            num_heads=2,
            num_classes=0,
            dynamic_img_size=True,
            weight_init="skip",
        )
        torch.nn.init.normal_(vit.pos_embed)
        torch.nn.init.normal_(vit.cls_token)
        half = (0.5, 0.5, 0.5)
        super().__init__(vit, embed_dim=32, patch_size=8, depth=3, mean=half, std=half)

    def _features(self, x: torch.Tensor) -> Features:
        tokens = self.backbone.forward_features(x)
        grid = x.shape[-2] // 8, x.shape[-1] // 8
        return Features(tokens[:, 0], tokens[:, 1:], tokens[:, :1], grid)

    def _intermediates(self, x: torch.Tensor, layers: tuple[int, ...], norm: bool) -> list[Any]:
        found: list[Any] = self.backbone.forward_intermediates(
            x, indices=list(layers), norm=norm, intermediates_only=True
        )
        return found


def build_tiny(*, weights: Path | None, random_init: bool) -> Encoder:
    return TinyEncoder()


class Plugin:
    """The tiny transformer, and squares of three kinds."""

    __name__ = "killable"

    @hookimpl
    def omnibench_encoders(self) -> list[EncoderSpec]:
        return [
            EncoderSpec(
                name="tiny",
                build=build_tiny,
                embed_dim=32,
                patch_size=8,
                depth=3,
                lora_targets=LINEARS,
            )
        ]

    @hookimpl
    def omnibench_datasets(self) -> list[DatasetSpec]:
        def opener(kind: str) -> Callable[[DataAccess], Any]:
            return lambda access: SquaresDataset(kind)

        return [
            DatasetSpec(name=f"squares-{kind}", kind=kind, open=opener(kind))
            for kind in ("labels", "masks", "captions")
        ]


# Segmentation's small modules and the language model from scratch, narrower: their states would take
# longer to write than they to train.
NARROW = Width(48, 8, 1)
SCRATCH = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64}
CLS = {"image_size": "32", "epochs": "4", "batch_size": "8", "lr": "1e-3"}
LINEARS = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"


def narrow_config(vocabulary: int) -> BartConfig:
    return BartConfig.from_dict(scratch_config(vocabulary).to_dict() | SCRATCH)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is run."""

    task: str
    kind: str
    settings: Mapping[str, str]
    tuning: str | None = None
    seeds: tuple[int, ...] = (0, 1)

    def request(self, folder: Path) -> RunRequest:
        return RunRequest(
            encoders=["tiny"],
            task=self.task,
            datasets=[f"squares-{self.kind}"],
            tuning=self.tuning,
            settings=self.settings,
            seeds=self.seeds,
            random_weights=True,
            keep_weights=True,
            data_root=folder / "data",
            cache=folder / "cache",
            results=folder / "results",
            device="cpu",
        )

    def cells(self, folder: Path) -> list[Cell]:
        return plan(self.request(folder), Registry.of(Plugin(), omnibench_plugins.tasks))

    def run(self, folder: Path, progress: Progress | None = None) -> list[RunRecord]:
        """Run it as the command line does; every epoch leaves its state."""
        with (
            mock.patch.object(unfinished, "PATIENCE", 0),
            mock.patch.object(seg_model, "SMALL", NARROW),
            mock.patch.object(language_model, "scratch_config", narrow_config),
        ):
            return [r for _, r, _ in execute(self.cells(folder), self.request(folder), progress)]


CASES = {
    "cls-full": Case("cls", "labels", {**CLS, "warmup_epochs": "2"}, "full"),
    "cls-lora": Case("cls", "labels", {**CLS, "warmup_epochs": "0", "lr": "1e-2"}, "lora-r8", (0,)),
    "cls-head": Case("cls", "labels", {**CLS, "augmentation": "none"}, "head", (0, 1, 2)),
    "seg": Case(
        "seg",
        "masks",
        {"image_size": "64", "epochs": "3", "batch_size": "8", "lr": "1e-3", "ffn_dim": "32"},
        seeds=(0,),
    ),
    "caption": Case(
        "caption",
        "captions",
        {
            "language_model": "scratch",
            "image_size": "32",
            "merger_tokens": "4",
            "epochs": "2",
            "batch_size": "8",
            "micro_batch": "4",
            "lr": "1e-3",
            "warmup_steps": "2",
            "evaluate_every": "2",
            "text_max_length": "16",
            "decodings": "beam2-12,beam1-8",
        },
        seeds=(0,),
    ),
    "linear": Case("linear", "labels", {"image_size": "32"}, seeds=(0,)),
}


def outcome(results: Path) -> dict[tuple[int, str], Any]:
    """Return what runs found, by seed and variant: all that must not depend on kills."""
    store = Store(results)
    found = {}
    for path in store.paths():
        record = store.read(path)
        if record.status != "complete":
            continue
        store.predictions(record)
        key = (record.seed, record.identity["task"]["variant"])
        assert key not in found, "a second record of one run"
        found[key] = {
            "run_id": record.run_id,
            "metrics": record.metrics,
            "validation": record.validation,
            "predictions": record.predictions,
            "weights": record.weights,
            "details": record.details,
        }
    return found


def visible(results: Path) -> dict[Path, tuple[int, int, str]]:
    """Return every lasting file with identity, time of change and digest of its content."""
    return {
        path: (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in results.rglob("*")
        if path.is_file() and not path.name.startswith(".")
        if path.relative_to(results).parts[0] not in ("unfinished", "claims")
    }


def require_whole(results: Path) -> None:
    """Assert that every lasting file is what its name says; states and claims may be of the dead."""
    for path, (_, _, sha256) in visible(results).items():
        if path.suffix in (".npz", ".safetensors"):
            assert path.stem == sha256, path
        elif path.suffix == ".json":
            Store(results).read(path)
        else:
            data = path.read_bytes()
            assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82"), path


def require_nothing_left(results: Path) -> None:
    """Assert that no state of a seed and no claim outlived what it was for."""
    left = [path for name in ("unfinished", "claims") for path in (results / name).glob("*")]
    assert [path for path in left if path.name != ".lock"] == []


@dataclasses.dataclass
class Campaign:
    """Runs of one case in one folder, killed until they are through, again and again.

    Args:
        case: What is run.
        folder: Where; made.
        seed: Of the times.
    """

    case: Case
    folder: Path
    seed: int
    hits: int = 0  # kills that met a living process
    rounds: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        # This process imports what runs need, so that its children need not.
        self.case.run(self.folder / "first")
        self.expected = outcome(self.folder / "first" / "results")
        began = time.perf_counter()
        undisturbed = children.start(lambda: self.case.run(self.folder / "undisturbed"))
        assert children.join(undisturbed) == 0
        self.seconds = time.perf_counter() - began
        assert outcome(self.folder / "undisturbed" / "results") == self.expected

    def kill(self, times: int) -> None:
        """Kill at random times until so many have hit, and let every round come to its end."""
        while self.hits < times:
            folder = self.folder / f"killed-{self.rounds}"
            self.rounds += 1
            known: dict[Path, Any] = {}
            killed = True
            while killed:
                child = children.start(lambda: self.case.run(folder))  # noqa: B023
                killed = children.kill_after(self.draw.uniform(0, SHARE * self.seconds), child)
                self.hits += killed
                require_whole(folder / "results")
                now = visible(folder / "results")
                assert known.items() <= now.items(), "what was finished is left alone"
                known = now
            assert outcome(folder / "results") == self.expected
            require_nothing_left(folder / "results")
