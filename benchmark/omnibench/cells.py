"""What is asked for, and one encoder on one dataset: what runs are made from and known by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnibench.cards import Asset, DatasetSpec, EncoderSpec
from omnibench.handle import EncoderHandle, Storage
from omnibench.interfaces import Dataset, RunContext, Task
from omnibench.offers import Offer
from omnibench.recipe import as_document, digest
from omnibench.records import SCHEMA

CACHE_LIMIT = 100.0  # GB; the eight segmentation sets of the paper take 88 for a small encoder


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for, as typed."""

    encoders: Sequence[str]
    task: str
    datasets: Sequence[str]
    recipe: str | None = None
    tuning: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    weights: Path | None = None
    random_weights: bool = False
    label: str | None = None
    data_root: Path
    cache: Path
    results: Path
    allow_unverified: bool = False
    offline: bool = False
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    keep_weights: bool = False
    plugins: Sequence[Path] = ()
    no_cache: bool = False
    cache_limit: float = CACHE_LIMIT  # GB of frozen outputs
    cache_precision: Storage = "fp32"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One encoder on one dataset under one recipe: everything that its seeds share."""

    encoder_name: str  # as typed
    dataset_name: str
    handle: EncoderHandle
    encoder: Offer[EncoderSpec]
    task: Offer[Task]
    card: DatasetSpec
    dataset_origin: str
    dataset: Dataset
    recipe_name: str
    recipe: Any
    changes: Mapping[str, str]
    seeds: tuple[int, ...]
    limit: int = 0
    keep_weights: bool = False
    assets: Mapping[str, Asset] = field(default_factory=dict)

    @property
    def protocol(self) -> dict[str, str]:
        """The whole recipe as strings; fields that name files hold the asset's name, no path."""
        return as_document(self.recipe) | {name: a.name for name, a in self.assets.items()}

    @property
    def tuning(self) -> str:
        """The recipe's tuning; `frozen` or `end-to-end` for tasks without a choice."""
        chosen = getattr(self.recipe, "tuning", None)
        return str(chosen) if chosen else "end-to-end" if self.handle.card.end_to_end else "frozen"

    def identity(self, context: RunContext, variant: str) -> dict[str, Any]:
        """Return what was asked: strings and integers only (see `omnibench.records`)."""
        task, plugin = self.task.card, self.encoder.plugin
        # Where no file's digest says what the parameters are, the plugin's version must; of a
        # plugin given as a file it is the file's digest.
        told = self.handle.weights.kind in ("official", "file") and plugin.distribution != "file"
        protocol = self.protocol
        protocol.pop("seeds", None)  # how many are run does not change what one run finds
        # Only where there are any: other runs keep the identity they have always had.
        files = {name: asset.sha256 for name, asset in self.assets.items()}
        storage = self.handle.storage
        return {
            **({"assets": files} if files else {}),
            **({"frozen_outputs": storage} if storage != "fp32" else {}),
            "schema": SCHEMA,
            "encoder": {
                "name": self.handle.card.name,
                "plugin": plugin.distribution,
                "plugin_version": "" if told else plugin.version,
                "weights": self.handle.weights.kind,
                "weights_sha256": self.handle.weights.sha256,
            },
            "dataset": {
                "name": self.dataset.name,
                "plugin": self.dataset_origin,
                "content_sha256": self.dataset.digest,
                "limit": self.limit,
            },
            "task": {
                "name": task.name,
                "plugin": self.task.plugin.distribution,
                "plugin_version": self.task.plugin.version
                if self.task.plugin.distribution == "file"
                else "",
                "version": task.version,
                "recipe": self.recipe_name,
                "variant": variant,
                "protocol_sha256": digest({"task": task.name, "v": task.version, **protocol}),
            },
            "tuning": self.tuning,
            "seed": context.seed,
            "device": context.device.partition(":")[0],
            "precision": context.precision,
        }
