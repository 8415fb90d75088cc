"""Cards and contracts between harness and plugins; importing this never imports torch.

Cards (frozen dataclasses) say what is known before anything heavy happens. Protocols say
what the harness calls. The one contract that needs torch is `omnibench.encoder.Encoder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from omnibench.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from omnibench.encoder import Encoder
    from omnibench.handle import EncoderHandle

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


# --------------------------------------------------------------------------------------
# Encoders
# --------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------
# Datasets
# --------------------------------------------------------------------------------------


class Split(Protocol):
    """One official split. Images are decoded one by one, so that large sets stay on disk."""

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        """Stable sample ids, int64 [N], strictly increasing."""

    @property
    def groups(self) -> np.ndarray[Any, Any] | None:
        """Group ids (patient, volume, article), int64 [N], or None where unknown."""

    def __len__(self) -> int:
        """Number of samples N."""

    def image(self, index: int) -> np.ndarray[Any, Any]:
        """Image [H, W] or [H, W, 3]: uint8, or float32 in [0, 1]."""

    def target(self, index: int) -> Any:
        """Label (int), mask (uint8 [H, W] of class indices) or captions (tuple of str)."""


@runtime_checkable
class ConceptSplit(Split, Protocol):
    """A split of captioned images that also says what each shows, in codes (UMLS CUIs)."""

    def concepts(self, index: int) -> tuple[str, ...]:
        """Codes of one image, sorted, without repetition; empty where none was found."""


class Dataset(Protocol):
    """An opened dataset: checked, on this machine, ready to read."""

    @property
    def name(self) -> str:
        """Name as shown; never a path."""

    @property
    def kind(self) -> DatasetKind:
        """What its targets are."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order; for masks class 0 is the background."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the content that can change a number."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What a record should say: source size, windowing, `unverified`, notices."""

    def split(self, name: str) -> Split:
        """Return `train`, `val` or `test`."""


@dataclass(frozen=True, kw_only=True)
class DataAccess:
    """How a dataset may be opened: where, and what is allowed."""

    root: Path
    offline: bool = False
    allow_unverified: bool = False
    source_size: int | None = None  # pixels; which published resolution to read
    options: Mapping[str, str] = field(default_factory=dict)  # the card's own `--set` options
    progress: Progress | None = None


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


# --------------------------------------------------------------------------------------
# Tasks
# --------------------------------------------------------------------------------------


class Progress(Protocol):
    """Where loops report; silent in tests, a bar on stderr for people."""

    def start(self, label: str, total: int) -> None:
        """Begin a stretch of `total` steps."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report finished steps and, optionally, a short note such as the current loss."""


class Silent:
    """A `Progress` that says nothing."""

    def start(self, label: str, total: int) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What one run may depend on besides encoder, dataset and recipe.

    `device` is a torch device string (`cpu`, `cuda:0`); `precision` the autocast type used in
    training on an accelerator. `seed` is the only source of randomness. `assets` are the files
    that the task asked for (see `NeedsAssets`), by recipe field.
    """

    seed: int
    device: str = "cpu"
    precision: Precision = "fp32"
    progress: Progress = field(default_factory=Silent)
    assets: Mapping[str, Asset] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task found: predictions, from which every metric is computed.

    Args:
        variant: Part of the record's identity: a decoding configuration, a number of shots;
            empty for tasks with one outcome.
        predictions: Named arrays (never object arrays): ids, scores, counts, texts. Names begin with
            the split (`test_`, `val_`).
        params_total: Parameters of encoder and everything the task adds.
        params_trainable: Those that training changes.
        flops_per_image: Floating-point operations of one prediction (2 per multiply-add).
        images_per_second: Prediction speed including the encoder, where measured.
        details: Plain facts for the record (chosen epoch, chosen regularisation); the texts in
            its list `flags` are shown under every table.
        weights: Trained parameters as named arrays; stored only with `--keep-weights`.
    """

    predictions: Mapping[str, np.ndarray[Any, Any]]
    variant: str = ""
    params_total: int = 0
    params_trainable: int = 0
    flops_per_image: int | None = None
    images_per_second: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number with its identity: what it is called is what it means.

    `unit` is `fraction` (shown in percent points) or `score`. `resource` names, with a digest, a
    file besides the predictions that the number depends on and that another machine may lack
    (METEOR's WordNet); metrics without one can be recomputed anywhere.
    """

    id: str
    value: float
    unit: str = "fraction"
    higher_is_better: bool = True
    resource: str = ""


@runtime_checkable
class Task(Protocol):
    """A way to judge an encoder on a dataset."""

    @property
    def name(self) -> str:
        """Name as typed: `cls`, `seg`, `knn`."""

    @property
    def version(self) -> int:
        """Raised whenever a change alters a published number."""

    @property
    def summary(self) -> str:
        """One line for `omnibench list tasks`."""

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of its recipes; the first is the default."""

    @property
    def tunings(self) -> tuple[str, ...]:
        """Values of `--tuning`, the default first; empty where there is no choice."""

    def recipe(self, name: str, tuning: str | None = None) -> Any:
        """Return the named recipe, a frozen dataclass instance (see `omnibench.recipe`).

        Every recipe has the fields `normalization`, `pool` and `seeds` (their number), and may
        have `source_size` and `image_size` (pixels), `tuning` and `max_images` (images in
        train, val and test).
        """

    def accepts(self, dataset: DatasetSpec, encoder: EncoderSpec, recipe: Any) -> str | None:
        """Return why the combination makes no sense, or None; must not import torch."""

    def stochastic(self, recipe: Any) -> bool:
        """Tell whether runs differ between seeds; if not, one seed is run."""

    def precision(self, asked: Precision, recipe: Any) -> Precision:
        """Return the precision that a run really uses; it is part of the record's identity."""

    def variants(self, recipe: Any) -> tuple[str, ...]:
        """Return the variants that `run` will yield; `("",)` for tasks with one outcome."""

    def headline(self, recipe: Any) -> str:
        """Return the id of the metric shown first."""

    def run(
        self, handle: EncoderHandle, dataset: Dataset, recipe: Any, context: RunContext
    ) -> Iterator[Outcome]:
        """Train and predict; yield one outcome a variant."""

    def score(
        self, predictions: Mapping[str, np.ndarray[Any, Any]], split: str = "test"
    ) -> Sequence[Metric]:
        """Compute every metric from stored predictions, without torch."""

    def draw(
        self, dataset: Dataset, predictions: Mapping[str, np.ndarray[Any, Any]], title: str
    ) -> bytes | None:
        """Return a PNG picture of the predictions, or None if there is nothing to show."""


@runtime_checkable
class NeedsAssets(Protocol):
    """A task whose runs need files besides the encoder's weights, such as a language model."""

    def assets(self, recipe: Any) -> Mapping[str, HubFile | LocalFiles]:
        """Return the files, by the recipe field that names them; must not import torch.

        They are found before torch is imported; their digests are part of a run's identity, and
        records hold an asset's name in place of the field's text.
        """


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a task's work that can be timed alone, on made-up images.

    Args:
        name: What tables call it.
        stage: `once` for every image of a cell, shared by seeds; `training` for every training
            image of every epoch and seed; `evaluation` for every image that is predicted;
            `detail` is a piece of another part and not counted again.
        images: How many images one call handles.
        call: Does it once.
    """

    name: str
    stage: Literal["once", "training", "evaluation", "detail"]
    images: int
    call: Callable[[], object]


@runtime_checkable
class Measurable(Protocol):
    """A task whose cost `omnibench bench` can measure before a run."""

    def parts(self, handle: EncoderHandle, recipe: Any, context: RunContext) -> Sequence[Part]:
        """Return what a run is made of, ready to be called again and again."""


# --------------------------------------------------------------------------------------
# Published numbers
# --------------------------------------------------------------------------------------


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
