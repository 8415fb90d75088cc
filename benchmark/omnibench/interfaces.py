"""Contracts: what the harness calls on tasks and datasets, and what passes between them.

Importing this never imports torch. What is known beforehand stands on cards (`omnibench.cards`); the
one contract that needs torch is `omnibench.encoder.Encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from omnibench.cards import (
    Asset,
    DatasetKind,
    DatasetSpec,
    EncoderSpec,
    HubFile,
    LocalFiles,
    Precision,
)

if TYPE_CHECKING:
    import numpy as np

    from omnibench.handle import EncoderHandle


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


class Unfinished(Protocol):
    """Remembers a training that has not come to its end, for when its process is killed.

    Tasks that train by `omnibench.training.fit` need not know of it.
    """

    def load(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the epoch to begin with, counted from 0, and the state before it, or None."""

    def save(self, epoch: int, state: Mapping[str, Any], *, at_once: bool = False) -> None:
        """Remember what `epoch` would begin with: nested mappings of tensors, numbers and texts.

        Now and then only, so that it costs next to nothing, unless `at_once`. Never fails.
        """


class Forgetful:
    """An `Unfinished` that remembers nothing."""

    def load(self) -> None:
        """Return None: training begins anew."""

    def save(self, epoch: int, state: Mapping[str, Any], *, at_once: bool = False) -> None:
        """Forget it."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What one run may depend on besides encoder, dataset and recipe.

    `device` is a torch device string (`cpu`, `cuda:0`); `precision` the autocast type used in
    training on an accelerator. `seed` is the only source of randomness. `assets` are the files
    that the task asked for (see `NeedsAssets`), by recipe field. `unfinished` is where training
    leaves its state and finds it again; `finished` are the variants whose records exist, which
    need not be yielded.
    """

    seed: int
    device: str = "cpu"
    precision: Precision = "fp32"
    progress: Progress = field(default_factory=Silent)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    unfinished: Unfinished = field(default_factory=Forgetful)
    finished: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task found: predictions, from which every metric is computed.

    Args:
        variant: Part of the record's identity: a decoding configuration, a number of shots;
            empty for tasks with one outcome.
        predictions: Named arrays (never object arrays): ids, scores, counts, texts. Names begin with
            the split (`test_`, `val_`); such arrays have one row for each of `<split>_id`, the
            dataset's ids in its order.
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
            image of every epoch and seed; `evaluation` for every validation image of every epoch
            and seed, and for what is predicted at the end; `prediction` for the end alone;
            `detail` is a piece of another part and not counted again.
        images: How many images one call handles.
        call: Does it once.
    """

    name: str
    stage: Literal["once", "training", "evaluation", "prediction", "detail"]
    images: int
    call: Callable[[], object]


@runtime_checkable
class Measurable(Protocol):
    """A task whose cost `omnibench bench` can measure before a run."""

    def parts(self, handle: EncoderHandle, recipe: Any, context: RunContext) -> Sequence[Part]:
        """Return what a run is made of, ready to be called again and again."""
