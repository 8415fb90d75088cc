"""Batches of two crops an image, each a function of (seed, step, rank) and of nothing else.

Nothing but the step need be saved to continue a run, and worker processes change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from omnirad.data.augmentation import POLICIES, Policy
from omnirad.data.crops import SCALE, random_box, resized
from omnirad.data.decoding import luma
from omnirad.data.sampling import Order, balanced, uniform
from omnirad.data.sources import Array, Source, stratum_codes
from omnirad.errors import OmniradError, UsageError
from omnirad.randomness import numpy_generator

VIEWS = 2
Sampling = Literal["uniform", "balanced"]


class PretrainBatches:
    """The batches of one process.

    Args:
        source: The images, N of them.
        batch_size: Images b in a batch of this process.
        crop_size: Side S of the crops, pixels.
        seed: Seed of the run, at least 0.
        policy: A name in `POLICIES`, or a policy.
        sampling: `uniform`, or `balanced` by √-frequency over strata.
        crop_scale: Share of the image's area that a crop has.
        rank: Number of this process.
        world: Number of processes W.

    Raises:
        UsageError: If a name is unknown, or an epoch is less than one batch.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        crop_size: int,
        seed: int,
        policy: str | Policy = "radiology",
        sampling: Sampling = "uniform",
        crop_scale: tuple[float, float] = SCALE,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if isinstance(policy, str) and policy not in POLICIES:
            raise UsageError(f"there is no policy {policy!r}; policies are {', '.join(POLICIES)}")
        if sampling not in ("uniform", "balanced"):
            raise UsageError(f"there is no sampling {sampling!r}; it is uniform or balanced")
        if seed < 0 or batch_size < 1 or crop_size < 1 or not 0 <= rank < world:
            raise UsageError(
                f"seed {seed}, batch size {batch_size}, crop size {crop_size}, rank {rank} of "
                f"{world} processes cannot be meant; seed and rank begin at 0, the others at 1"
            )
        if not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise UsageError(f"crop scale {crop_scale}: give two shares with 0 < low <= high <= 1")
        if len(source) < batch_size * world:
            raise UsageError(
                f"{len(source)} images do not fill one batch of {batch_size} in each of {world} "
                "processes; choose a smaller batch size"
            )
        self.source = source
        self.policy = POLICIES[policy] if isinstance(policy, str) else policy
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.crop_scale = crop_scale
        self.seed = seed
        self.rank = rank
        self.world = world
        self._codes = stratum_codes(source)[0] if sampling == "balanced" else None
        self._latest: tuple[int, Order] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """⌊N / (b W)⌋; the images left over differ from epoch to epoch."""
        return len(self.source) // (self.batch_size * self.world)

    def batch(self, step: int) -> Tensor:
        """Return the crops of a step.

        Args:
            step: 0-based, over all epochs.

        Returns:
            uint8 [2b, C, S, S], all first crops before all second ones in the same order of
            images; C is 1 for grey policies, else 3 (R, G, B). See `crops.normalised`.

        Raises:
            DataError: If an image cannot be decoded.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        start = (position * self.world + self.rank) * self.batch_size
        chosen = slice(start, start + self.batch_size)
        pairs = [
            self._views(int(index), int(number))
            for index, number in zip(order.indices[chosen], order.passes[chosen], strict=True)
        ]
        crops = torch.from_numpy(np.stack([pair[view] for view in range(VIEWS) for pair in pairs]))
        if not self.policy.grey:
            return crops.permute(0, 3, 1, 2).contiguous()
        return crops[:, None]

    def stream(self, start: int, stop: int, workers: int = 0) -> Iterator[Tensor]:
        """Yield the batches of steps `start` to `stop` - 1 in order.

        Args:
            start: First step.
            stop: Step after the last one.
            workers: Processes that prepare whole batches; the batches do not depend on it.

        Raises:
            OmniradError: What `batch` raises.
        """
        loader = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
        for crops in loader:
            if isinstance(crops, OmniradError):
                raise crops
            yield crops

    def _order(self, epoch: int) -> Order:
        """Return the order of an epoch; the latest one is kept."""
        if self._latest is None or self._latest[0] != epoch:
            order = (
                uniform(len(self.source), self.seed, epoch)
                if self._codes is None
                else balanced(self._codes, self.seed, epoch)
            )
            self._latest = epoch, order
        return self._latest[1]

    def _views(self, index: int, number: int) -> list[Array]:
        """Return both crops of an image, uint8 [S, S] or [S, S, 3]."""
        sample, image = self.source.sample(index), self.source.image(index)
        if self.policy.grey:
            image = luma(image)
        return [
            self._view(
                image,
                numpy_generator("view", self.seed, number, sample.source, ascii(sample.id), view),
                view,
                sample.modality,
            )
            for view in range(VIEWS)
        ]

    def _view(self, image: Array, rng: np.random.Generator, view: int, modality: str) -> Array:
        box = random_box(image.shape[0], image.shape[1], rng, self.crop_scale)
        crop = resized(image, box, self.crop_size, self.crop_size)
        varied = self.policy(crop.astype(np.float32) / np.float32(255), rng, view, modality)
        levels: Array = np.rint(varied * np.float32(255)).astype(np.uint8)
        if levels.ndim == 2 and not self.policy.grey:
            return np.repeat(levels[..., None], 3, axis=2)
        return levels


class _Steps(Dataset[Tensor | OmniradError]):
    """Batches by step, for worker processes, which hand over errors as they are."""

    def __init__(self, batches: PretrainBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Tensor | OmniradError:
        try:
            return self.batches.batch(step)
        except OmniradError as error:
            return error
