"""A frozen encoder seen through the store: built only when something was never computed before."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omnibench.cards import Normalization, Precision
from omnibench.encoder import Encoder
from omnibench.errors import PluginError
from omnibench.features.images import images_of
from omnibench.features.keys import encoder_identity, image_identity
from omnibench.features.notes import noted
from omnibench.features.readings import Reading
from omnibench.features.rows import HOLD_BYTES, Layout, Rows, Tensors, computed_once
from omnibench.forward import Images, autocast_to, chunks, flops_per_image, parameter_counts
from omnibench.interfaces import Dataset, Progress
from omnibench.loading import as_images

if TYPE_CHECKING:
    from omnibench.handle import EncoderHandle


@dataclass(frozen=True)
class Facts:
    """What tasks must know of an encoder, so that a stored one need not be built."""

    params: int
    flops_per_image: int  # of the reading
    embed_dim: int
    mean: tuple[float, ...]  # of the normalisation in use
    std: tuple[float, ...]
    key_coverage: str | None
    layout: Layout  # of what is read off one image


class FrozenFeatures:
    """Readings of whole splits by one frozen encoder, each image encoded once.

    Args:
        handle: The encoder; its `store` keeps what is computed, where there is one.
        reading: What is read off it.
        normalization: The recipe's.
        size: Side of the images in pixels, squashed.
        antialias: How images are resized, see `omnibench.loading`.
        device: Where it is computed.
        precision: Of training; used where the reading follows it.
    """

    hold_bytes = HOLD_BYTES

    def __init__(
        self,
        handle: EncoderHandle,
        reading: Reading,
        *,
        normalization: Normalization,
        size: int,
        antialias: bool,
        device: str,
        precision: Precision,
    ) -> None:
        self.handle, self.reading, self.normalization = handle, reading, normalization
        self.size, self.antialias, self.device = size, antialias, device
        self.precision: Precision = precision if reading.mixed_precision else "fp32"
        self._known: dict[str, tuple[Dataset, Rows]] = {}

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder, configured, frozen, on the device; built when first asked for."""
        built = self.handle.build(normalization=self.normalization, pool="checkpoint")
        return built.freeze().to(self.device)

    @functools.cached_property
    def facts(self) -> Facts:
        """What is known without images.

        Raises:
            UsageError: If images of this size cannot be encoded.
            PluginError: If the encoder breaks its contract.
        """
        identity = {**self.identity, "what": "facts"}
        told = noted(self.handle.store, identity, lambda: asdict(self._described()))
        told["layout"] = Layout.parsed(told["layout"])
        facts = Facts(**told | {name: tuple(told[name]) for name in ("mean", "std")})
        self.handle.known_coverage = facts.key_coverage
        return facts

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Everything but images that the readings depend on."""
        identity = encoder_identity(
            self.handle,
            self.reading,
            normalization=self.normalization,
            size=self.size,
            device=self.device,
            precision=self.precision,
        )
        if not self.handle.weights.sha256:
            # No file's digest says what the parameters are, so they are asked themselves.
            identity["parameters"] = fingerprint(self.encoder)
        return identity

    def of(self, dataset: Dataset, split: str, progress: Progress) -> Rows:
        """Return the readings of a split, computed now if they never were.

        Raises:
            IntegrityError: If images are damaged.
            PluginError: If the encoder changes although it is frozen.
        """
        known = self._known.get(split)
        if known is None or known[0] is not dataset:
            known = self._known[split] = (dataset, self._of(dataset, split, progress))
        return known[1]

    def images(self, dataset: Dataset, split: str, progress: Progress) -> Images:
        """Return the images that the readings are made of."""
        return images_of(
            self.handle.store, dataset, split, self.size, self.antialias, progress=progress
        )

    def require_unchanged(self) -> None:
        """Raise `PluginError` if a parameter or buffer of the encoder is not what it was."""
        if "encoder" in self.__dict__ and fingerprint(self.encoder) != self._beginning:
            raise PluginError(
                f"encoder {self.handle.card.name!r} is frozen, yet its parameters or buffers "
                "changed in a run; neither its forward pass nor the task may write to them"
            )

    def _of(self, dataset: Dataset, split: str, progress: Progress) -> Rows:
        facts, count = self.facts, len(dataset.split(split))
        images: list[Images] = []  # decoded when the first reading is missing

        def compute(index: Tensor) -> Tensors:
            if not images:
                images.append(self.images(dataset, split, progress))
                progress.start(f"encoding {split} images", count)
            return self._stored_form(self._computed(images[0], index))

        store, storage = self.handle.store, self.handle.storage
        identity = {
            **self.identity,
            "what": "rows",
            "storage": storage,
            "images": image_identity(dataset, split, "images", self.size, self.antialias),
        }
        rows = computed_once(
            store,
            identity,
            Layout(c._replace(dtype=_stored(c.dtype, storage)) for c in facts.layout),
            count,
            compute,
            what=f"{self.reading.kind} of {count} {split} images",
            advance=progress.advance,
            pinned=self.device.startswith("cuda"),
            hold_bytes=self.hold_bytes,
        )
        try:
            self.require_unchanged()
        except PluginError:
            if store:
                store.discard(identity)  # nobody may read what a changing encoder said
            raise
        return rows if storage == "fp32" else _Widened(rows, facts.layout)

    def _computed(self, images: Images, index: Tensor) -> Tensors:
        """Read the given images, in chunks of one size."""
        found = []
        for part, filled in chunks(index):
            with torch.inference_mode(), autocast_to(self.precision, self.device):
                read = self.reading.read(self.encoder, as_images(images[filled], self.device))
            # cloned outside, because inference tensors cannot be trained on
            found.append({name: tensor[: len(part)].clone() for name, tensor in read.items()})
        return {name: torch.cat([chunk[name] for chunk in found]) for name in found[0]}

    def _stored_form(self, tensors: Tensors) -> Tensors:
        """Round as the store does, so that no number depends on whether there is one."""
        if self.handle.storage == "fp32":
            return tensors
        return {n: t.half() if t.dtype == torch.float32 else t for n, t in tensors.items()}

    def _described(self) -> Facts:
        """Build the encoder and read one black image."""
        reader = _Reader(self.encoder, self.reading)
        flops = flops_per_image(reader, self.size, self.device)
        if self.precision != "fp32":
            with torch.no_grad(), autocast_to(self.precision, self.device):
                reader(torch.zeros(1, 3, self.size, self.size, device=self.device))
        self.require_unchanged()
        return Facts(
            params=parameter_counts(self.encoder).total,
            flops_per_image=flops,
            embed_dim=self.encoder.embed_dim,
            mean=tuple(self.encoder.mean.flatten().tolist()),
            std=tuple(self.encoder.std.flatten().tolist()),
            key_coverage=self.handle.key_coverage,
            layout=Layout.of(reader.latest),
        )

    @functools.cached_property
    def _beginning(self) -> str:
        pristine = self.handle.build(normalization=self.normalization, pool="checkpoint")
        return fingerprint(pristine)


@functools.lru_cache(maxsize=1)  # the seeds of a cell follow each other; cells do not pile up
def frozen_features(
    handle: EncoderHandle,
    reading: Reading,
    normalization: Normalization,
    size: int,
    antialias: bool,
    device: str,
    precision: Precision,
) -> FrozenFeatures:
    """Return the same object for the same arguments, as long as no others are asked for."""
    return FrozenFeatures(
        handle,
        reading,
        normalization=normalization,
        size=size,
        antialias=antialias,
        device=device,
        precision=precision,
    )


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 over every parameter and buffer of a module, bit by bit."""
    return digest_of(chain(module.named_parameters(), module.named_buffers()))


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 over names and bits of tensors, in their order."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()


class _Reader(nn.Module):
    """A reading as a module; remembers what it read last."""

    def __init__(self, encoder: Encoder, reading: Reading) -> None:
        super().__init__()
        self.encoder, self.reading = encoder, reading
        self.latest: Mapping[str, Tensor] = {}

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        self.latest = self.reading.read(self.encoder, images)
        return self.latest


class _Widened:
    """Rows rounded to half precision, as the encoder's own types again."""

    def __init__(self, rows: Rows, layout: Layout) -> None:
        self.rows, self.layout, self.seconds = rows, layout, rows.seconds

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: Tensor) -> dict[str, Tensor]:
        found = self.rows.read(index)
        return {c.name: found[c.name].to(getattr(torch, c.dtype)) for c in self.layout}


def _stored(dtype: str, storage: str) -> str:
    return "float16" if storage == "fp16" and dtype == "float32" else dtype
