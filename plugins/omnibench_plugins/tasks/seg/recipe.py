"""How segmentation is trained: the paper's protocol and its named variants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from omnibench.cards import Normalization
from omnibench.errors import UsageError
from omnibench_plugins.tasks.checks import require_images, require_positive

MIN_SIZE = 64  # pixels; below it the coarsest map is a single position without statistics


@dataclass(frozen=True, kw_only=True)
class SegRecipe:
    """A frozen encoder, a hybrid encoder and a decoder (OmniRad, Sec. 3.3).

    Defaults are the paper's. `unstated` marks what it does not say; the value is then that of
    the authors' released segmentation code unless another origin is named.
    """

    # `adapter` puts modules on a frozen encoder, `end_to_end` trains a whole network from scratch
    model: Literal["adapter", "end_to_end"] = "adapter"
    normalization: Normalization = "imagenet"  # unstated; end-to-end networks get [0, 1]
    pool: Literal["checkpoint"] = "checkpoint"  # no choice: segmentation taps blocks
    source_size: int = 512  # pixels; unstated, MedSegBench's own default
    image_size: int = 448  # pixels; squashed, bilinear without antialias (unstated)
    epochs: int = 20
    batch_size: int = 16
    lr: float = 1e-4  # AdamW, constant (schedule unstated)
    weight_decay: float = 1e-4
    # unstated; `medsegbench` is Dice for two classes, else its cross-entropy of softmax outputs
    loss: Literal["cross_entropy", "dice", "medsegbench"] = "cross_entropy"
    # Where it is taken: on logits resized to the image (unstated), or at 1/8, where the paper's
    # decoder ends, on masks resized to that. Metrics are on the full grid either way.
    loss_resolution: Literal["full", "eighth"] = "full"
    # How blocks are read: by the encoder itself, or by the released code's own loop, which
    # drops DINOv3's rotary positions and registers and CLIP's first norm.
    extractor: Literal["timm", "released"] = "timm"
    # "Only the segmentation-specific modules are optimized", but the printed 14.27 M and
    # 69.76 M leave these two out: they stay random, and only their batch statistics move.
    train_prior_and_fusion: bool = False
    # Feed-forward width F of the hybrid encoder. unstated; 1536 gives the printed 69.76 M. None
    # is 4 D, which the released launcher forces (72.12 M for the base size).
    ffn_dim: int | None = 1536
    # Mask value to class: declared once for a dataset, or the sorted values that each split
    # happens to hold, as in the released code, where a missing value shifts the classes.
    label_map: Literal["fixed", "per_split"] = "fixed"
    # Validation metric that chooses the epoch, strictly higher wins; unstated
    selection: Literal["miou_paper", "miou_dataset", "miou_fg_dataset"] = "miou_paper"
    max_images: tuple[int, int, int] | None = None  # train, val, test
    seeds: int = 5

    def __post_init__(self) -> None:
        """Refuse values with which no epoch could be trained."""
        require_positive(self, "source_size", "epochs", "batch_size", "lr", "seeds", "ffn_dim")
        require_images(self)
        if self.image_size < MIN_SIZE:
            raise UsageError(
                f"image_size is {self.image_size}; use --set image_size=N with N >= {MIN_SIZE}"
            )


PAPER = SegRecipe()

# The authors' code, quirks included.
RELEASED = replace(PAPER, extractor="released", ffn_dim=None, label_map="per_split")

# What we recommend: own statistics, every module but the encoder trained, an epoch chosen by a
# number that does not depend on batches.
FAIR = replace(
    PAPER,
    normalization="own",
    train_prior_and_fusion=True,
    selection="miou_dataset",
)

# A first look in minutes. 60 images are four batches of 16: twelve steps at the paper's rate do
# not learn to beat an all-background guess, so batches are smaller and the rate is larger.
QUICK = replace(
    PAPER,
    image_size=112,
    max_images=(60, 20, 40),
    epochs=3,
    batch_size=4,
    lr=5e-4,
    seeds=3,
)

# U-Nets from scratch after MedSegBench's training scripts: Adam at 1e-3, 200 epochs, 512 pixels,
# images in [0, 1]. Theirs chooses by the foreground IoU of shuffled validation batches; pooling
# the whole split instead depends on no order.
MEDSEGBENCH = replace(
    PAPER,
    model="end_to_end",
    normalization="own",
    image_size=512,
    epochs=200,
    lr=1e-3,
    weight_decay=0.0,
    loss="medsegbench",
    selection="miou_fg_dataset",
    seeds=3,
)

# Fields that say nothing about a whole network
ADAPTER_FIELDS = (
    "normalization",
    "loss_resolution",
    "extractor",
    "train_prior_and_fusion",
    "ffn_dim",
)

RECIPES = {
    "paper": PAPER,
    "released": RELEASED,
    "fair": FAIR,
    "quick": QUICK,
    "medsegbench": MEDSEGBENCH,
}
