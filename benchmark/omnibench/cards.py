"""Cards: what is known of encoders, datasets and published numbers before anything heavy happens.

Frozen dataclasses; importing this never imports torch, and making one never touches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omnibench.errors import PluginError

if TYPE_CHECKING:
    import torch

    from omnibench.encoder import Encoder
    from omnibench.interfaces import Dataset, Progress

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SPLITS = ("train", "val", "test")

Normalization = Literal["own", "imagenet"]
Pool = Literal["cls", "avg", "checkpoint"]
DatasetKind = Literal["labels", "masks", "captions", "images"]
Precision = Literal["fp32", "bf16", "fp16"]


def check_name(name: str, what: str) -> None:
    """Raise `PluginError` unless a card's name is safe to print and to type."""
    if not NAME.fullmatch(name):
        raise PluginError(
            f"{what} name {name!r} is not allowed: use lower-case letters, digits and ._- "
            "(at most 64, beginning with a letter or digit)"
        )


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a model repository on the Hugging Face hub.

    An empty `revision` means that nobody has seen one yet: the first download locks the
    commit and the SHA-256 digest it found (see `omnibench.weights`). `companions` are further
    files that building needs (`config.json`); they lie beside the weights. `remedy` says what to
    do where the files cannot be had; empty means the options of encoders.
    """

    repo: str
    filename: str = "model.safetensors"
    companions: tuple[str, ...] = ()
    revision: str = ""
    sha256: str = ""
    licence_url: str = ""
    remedy: str = ""

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"https://huggingface.co/{self.repo}"


@dataclass(frozen=True, kw_only=True)
class LocalFiles:
    """Files in a folder of the user's, where others would name a `HubFile`."""

    folder: Path
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Files that a run needs besides the encoder's weights, found and digested.

    Args:
        name: As records say it: the repository, or `folder+digest8`; never a path.
        files: File name to where it lies on this machine.
        sha256: Digest over the digests of the files, in order.
        revision: Commit of the repository; empty for a folder.
    """

    name: str
    files: Mapping[str, Path]
    sha256: str
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Card of an encoder; making one must not import torch or touch the disk.

    `build(weights=PATH | None, random_init=BOOL)` returns an `omnibench.encoder.Encoder`.
    With `random_init` it draws parameters and reads no weights (if `source` has companions,
    `weights` is then the path of the first of them); otherwise it loads `weights`, a
    local file whose digest the harness has already recorded. When `source` is None and
    no file is given, `weights` is None and the encoder carries its own parameters.

    Cards with `end_to_end=True` are whole networks trained from scratch (CNN baselines); they
    give `build_end_to_end(classes=N)` instead, a module mapping images [B, 3, H, W] in [0, 1]
    to logits [B, N, H, W], and fit only tasks that say so.
    """

    name: str
    build: Callable[..., Encoder] | None = None
    embed_dim: int = 0  # token width D; 0 = known only once built
    patch_size: int = 1  # pixels; 1 = the encoder takes any size
    depth: int = 0  # number of blocks (transformers) or stages (CNNs)
    family: str = ""
    licence: str = "unknown"
    licence_url: str = ""
    commercial: bool | None = None  # may its weights be used commercially, as far as declared
    gated: bool = False
    source: HubFile | None = None
    paper: str = ""
    notes: str = ""
    lora_targets: str | None = None  # regex of module names, or "all-linear"; None = no LoRA
    end_to_end: bool = False
    build_end_to_end: Callable[..., torch.nn.Module] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without building."""
        if (self.build_end_to_end if self.end_to_end else self.build) is None:
            raise PluginError(f"encoder {self.name!r} has no build function")


@dataclass(frozen=True, kw_only=True)
class EncoderPrefix:
    """Makes cards for references such as `timm:vit_tiny_patch16_224` (prefix `timm`)."""

    prefix: str
    make: Callable[[str], EncoderSpec]
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class DataAccess:
    """How a dataset may be opened: where, and what is allowed."""

    root: Path
    offline: bool = False
    allow_unverified: bool = False
    source_size: int | None = None  # pixels; which published resolution to read
    options: Mapping[str, str] = field(default_factory=dict)  # the card's own `--set` options
    progress: Progress | None = None
    cache: Path | None = None  # where what is derived from data may be kept; None = nowhere


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Card of a dataset; making one must not touch the disk.

    Args:
        name: Lower-case name without the collection's suffix (`promise12`, `breastmnist`).
        kind: What the targets are.
        open: Opens it; raises `SetupError` (missing) or `IntegrityError` (damaged).
        classes: Class names in index order.
        sizes: Published resolutions in pixels; empty if there is one native resolution.
        split_sizes: Published number of samples in train, val and test.
        multi_label: Targets hold several labels at once.
        embedded: Needs no download.
        options: Names of extra `--set` options that `open` understands.
        files: Returns where its files or folders lie below a data root, whether they are there or
            not; `omnibench doctor` looks for them. None where that is not known.
        views: Cards of the same images with other targets; used by tasks that refuse this card.
    """

    name: str
    kind: DatasetKind
    open: Callable[[DataAccess], Dataset]
    classes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    split_sizes: tuple[int, int, int] | None = None
    multi_label: bool = False
    modality: str = ""
    collection: str = ""
    licence: str = "unknown"
    commercial: bool | None = None
    source_url: str = ""
    citation: str = ""
    embedded: bool = False
    options: tuple[str, ...] = ()
    files: Callable[[Path], Sequence[Path]] | None = None
    views: tuple[DatasetSpec, ...] = ()  # the same images with other targets, for other tasks
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetPrefix:
    """Makes cards for references such as `folder:PATH` (prefix `folder`).

    `make` gets the text after the colon and may look at the disk to tell the kind.
    """

    prefix: str
    make: Callable[[str], DatasetSpec]
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetVariant:
    """Makes a card from another card, for references such as `clean:busi` (prefix `clean`).

    What it makes is a dataset of its own, with its own name and digest; it stays an offer of the
    plugin that ships the original. Opened, it holds the original as its field `dataset`, so that
    the code that reads the images counts.
    """

    prefix: str
    make: Callable[[DatasetSpec], DatasetSpec]
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishedValue:
    """One printed cell of a paper, with the identity of what it measures.

    `metric` is one of our metric ids, or empty when the printed number cannot be told apart;
    `value` and `sd` are on the printed scale (percent). `recipes` names the recipes that follow
    the same protocol. `reason` says why a cell is not comparable, if it is not.

    What the authors ran themselves belongs to a `study`, which can be run again; `omnibench
    reproduce` then needs the fields after it. Numbers that a paper quotes have none.

    Args:
        study: Name of the study, as typed.
        table: Number of the paper's table.
        runs: Run counts that may stand behind mean and SD: the stated one, then those that the
            printed digits allow where they contradict it.
        pooled: Datasets over whose runs the value is pooled, with the SD over all of them;
            `dataset` is then no dataset but says so.
        task_flops: Floating-point operations of one image through what the task adds to the
            encoder (2 per multiply-add), for estimates.
    """

    source: str  # "OmniRad, Table 9"
    encoder: str
    task: str
    dataset: str
    metric: str
    printed_metric: str
    value: float
    sd: float | None = None
    tuning: str = ""
    variant: str = ""
    recipes: tuple[str, ...] = ("paper",)
    reason: str = ""
    study: str = ""
    table: int = 0
    runs: tuple[int, ...] = ()
    pooled: tuple[str, ...] = ()
    task_flops: int = 0
