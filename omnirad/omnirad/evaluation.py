"""kNN evaluation of weights, with intervals, beside random weights, raw pixels and PCA."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from omnirad.architectures import ARCHITECTURES, architecture
from omnirad.distributed import chosen_device
from omnirad.errors import UsageError
from omnirad.knn_probe import Probe
from omnirad.knn_scores import Interval, intervals
from omnirad.model import create_model
from omnirad.progress import Progress
from omnirad.weights import locate, read_state

logger = logging.getLogger(__name__)


def evaluate(
    weights: str | None,
    size: str | None,
    data: str,
    split: str,
    img_size: int | None,
    device: str,
    progress: Progress,
) -> dict[str, dict[str, Interval]]:
    """Return accuracy, balanced accuracy and AUC of all candidates and of paired differences.

    Args:
        weights: What is evaluated; None for the yardsticks alone.
        size: Of the encoder; by default read off the weights, or nano.
        data: A labelled source.
        split: Whose images are asked about.
        img_size: Pixels; by default the size's own.
        device: Where encoders compute.
        progress: Where to report.

    Raises:
        UsageError: If the weights are of none of the sizes.
    """
    if size is None:
        size = size_of_weights(weights)
    where = chosen_device(device, None)
    pixels = img_size or architecture(size).img_size
    # Built first: what is wrong with weights is said before images are read.
    encoder = None if weights is None else create_model(size, weights, img_size=pixels).to(where)
    probe = Probe(data, split=split, img_size=pixels, device=where, progress=progress)
    votes = {} if encoder is None else {"weights": probe.encoder(encoder)}
    votes |= probe.yardsticks(size)
    logger.info(
        "%d images of %s asked about, neighbours among %d of train; %s at %d px",
        *(len(probe.queries.labels), split, len(probe.bank.labels), size, pixels),
    )
    return intervals(votes, probe.labels)


def size_of_weights(weights: str | None) -> str:
    """Return the size whose width and depth some weights have.

    Raises:
        UsageError: If there is none, or `weights` is a name that several sizes share.
    """
    if weights in (None, "shipped"):
        return "nano"
    path = Path(str(weights))
    if weights in ("dinov2", "published"):
        raise UsageError(f"--weights {weights} exists in two sizes; add --size small or base")
    if path.is_dir():
        path = path / "model.safetensors"
    return size_of_state(read_state(locate(path, "nano")))


def size_of_state(state: Mapping[str, Tensor]) -> str:
    """Return the size of named tensors; raise `UsageError` if they have none."""
    width = state["cls_token"].shape[-1] if "cls_token" in state else 0
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for size, kind in ARCHITECTURES.items():
        if (kind.embed_dim, kind.depth) == (width, depth):
            return size
    raise UsageError(
        f"weights of width {width} and depth {depth} are none of {', '.join(ARCHITECTURES)}"
    )
