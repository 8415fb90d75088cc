"""An encoder as tasks receive it: its card and digest at once, the module when asked for."""

from __future__ import annotations

import copy
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omnibench.cards import EncoderSpec, Normalization, Pool, Precision
from omnibench.errors import IntegrityError, OmnibenchError, PluginError, ran_out_of_memory

if TYPE_CHECKING:
    from torch import nn

    from omnibench.encoder import Encoder
    from omnibench.features.cache import FeatureStore
    from omnibench.features.frozen import FrozenFeatures
    from omnibench.features.readings import Reading

Storage = Literal["fp32", "fp16"]
DRAWING = "random weights"  # the stream that random weights are drawn from


@dataclass(frozen=True, kw_only=True)
class WeightsChoice:
    """Where an encoder's parameters come from, decided before torch is imported.

    Args:
        kind: `official` (the card's source), `file` (`--weights`), `random`
            (`--random-weights`), or `own` (the plugin carries them).
        path: Local file, for `official` and `file`; for `random` a companion file of the card's
            source (`config.json`), where building needs one.
        sha256: Digest of that file (with companions, of their digests in order); for `random`
            a digest of the drawing rule.
        revision: Commit of the hub repository, for `official`.
        modified: When the file was last written as its digest was taken, in ns; 0 where nobody
            would write to it.
    """

    kind: Literal["official", "file", "random", "own"]
    path: Path | None = None
    sha256: str = ""
    revision: str = ""
    modified: int = 0


@dataclass(eq=False)
class EncoderHandle:
    """Card, weights and label of one encoder; builds the module at most once.

    `label` is how tables show it: the card's name for official weights, `NAME+digest8` for
    a weights file, `NAME+random` for random weights, or the user's `--label`. `origin` is the
    plugin that brought it, with version. Frozen outputs are kept in `store`, rounded to `storage`.
    `parameters_sha256` is known once the encoder was guarded (`omnibench.guards`).
    """

    card: EncoderSpec
    weights: WeightsChoice
    label: str
    origin: str = ""
    store: FeatureStore | None = None
    storage: Storage = "fp32"
    known_coverage: str | None = None  # said by the store of an encoder that was not built
    parameters_sha256: str | None = None
    _pristine: Encoder | None = field(default=None, repr=False)
    _latest: weakref.ref[FrozenFeatures] | None = field(default=None, repr=False)

    def build(self, *, normalization: Normalization, pool: Pool) -> Encoder:
        """Return a fresh copy of the encoder, configured, on the CPU, in eval mode.

        Random weights are drawn once per encoder name: all seeds get the same ones.

        Raises:
            PluginError: If the plugin fails, or returns something that is no `Encoder`.
        """
        if self._pristine is None:
            self._pristine = self.built_anew()
        fresh = copy.deepcopy(self._pristine)
        return fresh.configure(normalization=normalization, pool=pool).eval()

    def built_anew(self, stream: str = DRAWING, *, random_init: bool = False) -> Encoder:
        """Call the card's build function, as nobody has used its result yet.

        Args:
            stream: Name of the random stream that it may draw from; encoders that are run have
                the default.
            random_init: Ask for random parameters, whatever the choice of weights.

        Raises:
            PluginError: If the plugin fails, or returns something that is no `Encoder`.
        """
        import torch

        from omnibench.encoder import Encoder
        from omnibench.seeding import derive

        assert self.card.build is not None
        drawn = random_init or self.weights.kind == "random"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(stream, self.card.name))
            with plugin_blamed(self.card.name):
                encoder = self.card.build(weights=self._path(drawn), random_init=drawn)
        self._require_same_file()
        if not isinstance(encoder, Encoder):
            raise PluginError(
                f"encoder {self.card.name!r}: build() returned {type(encoder).__name__}, "
                "an omnibench.encoder.Encoder was expected"
            )
        return encoder

    @property
    def key_coverage(self) -> str | None:
        """What of the weights file was loaded, once built; None where none was read."""
        if self._pristine is None:
            return self.known_coverage
        return getattr(self._pristine.backbone, "key_coverage", None)

    @property
    def module(self) -> str:
        """Name of the module that builds it."""
        return module_of(self.card.build_end_to_end if self.card.end_to_end else self.card.build)

    def features(
        self,
        reading: Reading,
        *,
        normalization: Normalization,
        size: int,
        antialias: bool,
        device: str,
        precision: Precision,
    ) -> FrozenFeatures:
        """Return what the frozen encoder says about images, from the store where it is known.

        Args:
            reading: What is read off it (`omnibench.features.readings`).
            normalization: The recipe's.
            size: Side of the images in pixels.
            antialias: How they are resized.
            device: Torch device.
            precision: Of training; used by readings that follow it.
        """
        from omnibench.features.frozen import frozen_features

        found = frozen_features(self, reading, normalization, size, antialias, device, precision)
        self._latest = weakref.ref(found)  # weak: a cell's encoder goes when the cell ends
        return found

    def require_unchanged(self) -> None:
        """Raise `PluginError` if the frozen encoder that a run has read was changed by it."""
        features = self._latest and self._latest()
        if features:
            features.require_unchanged()

    def build_end_to_end(self, classes: int) -> nn.Module:
        """Return a freshly initialised whole network with `classes` output channels."""
        if self.card.build_end_to_end is None:
            raise PluginError(f"encoder {self.card.name!r} is not an end-to-end network")
        with plugin_blamed(self.card.name):
            return self.card.build_end_to_end(classes=classes)

    def _path(self, drawn: bool) -> Path | None:
        """Return the file that building is given: weights, or where they are drawn a companion."""
        path, companions = self.weights.path, self.card.source and self.card.source.companions
        if not drawn or self.weights.kind == "random":
            return path
        return path.parent / companions[0] if path and companions else None

    def _require_same_file(self) -> None:
        """Raise `IntegrityError` if the weights were written to since their digest was taken."""
        path, modified = self.weights.path, self.weights.modified
        if path is not None and modified and path.stat().st_mtime_ns != modified:
            raise IntegrityError(
                f"{path} changed after its digest was taken; run again once nobody writes to it"
            )


def module_of(function: Any) -> str:
    """Return the module of a function, which cards often hold as a `functools.partial`."""
    return str(getattr(getattr(function, "func", function), "__module__", ""))


@contextmanager
def plugin_blamed(name: str, what: str = "cannot be built") -> Iterator[None]:
    """Turn what a stranger's code may raise into a `PluginError`; our own errors pass.

    Args:
        name: The encoder's.
        what: What it means that its code raised.
    """
    try:
        yield
    except OmnibenchError:
        raise
    except (Exception, SystemExit) as error:
        if ran_out_of_memory(error):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"encoder {name!r} {what}: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno})"
        ) from error
