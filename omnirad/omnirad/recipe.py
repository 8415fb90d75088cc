"""How OmniRad is pretrained: Table 1 as a dataclass, and what the paper leaves unsaid.

The authors published no pretraining code. `unstated` marks every value that the paper does not
give; its source follows: RD is RedDino's training configuration (same first author, which equals
Table 1 in every other row), DB is DinoBloom's, D2 is DINOv2's, `ours` is our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from omnirad.architectures import PATCH, Size, architecture, require_image_size
from omnirad.errors import UsageError

POSITIVE = (
    "epochs",
    "batch_size",
    "base_lr",
    "layer_scale",
    "prototypes",
    "head_bottleneck",
    "head_hidden",
    "head_layers",
    "sinkhorn_iterations",
    "student_temp",
    "teacher_temp_start",
    "teacher_temp",
    "clip_norm",
    "layer_decay",
    "gram_refresh_steps",
    "high_res_batch_divisor",
    "chunk_rows",
)
NOT_NEGATIVE = (
    "min_lr",
    "warmup_epochs",
    "weight_decay",
    "weight_decay_end",
    "dino_weight",
    "ibot_weight",
    "dino_global_scale",
    "koleo_weight",
    "gram_weight",
    "teacher_temp_warmup_epochs",
    "freeze_last_layer_epochs",
    "freeze_encoder_steps",
)


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """Global-crops-only DINOv2 (OmniRad, Sec. 3.1). Defaults are the preset `paper`, size small.

    Epochs are passes over the training images; steps a epoch are ⌊images / (batch · ranks)⌋.
    """

    # -- model
    size: Size = "small"
    init: Literal["weights", "random"] = "weights"  # unstated; RD starts from DINOv2's LVD-142M
    # Resampling of a position table to another grid: timm's antialiased bicubic, or plain as in DB
    position_interpolation: Literal["antialias", "plain"] = "antialias"  # unstated; ours
    layer_scale: float = 1e-5  # initial gamma, Table 1; without effect where weights are loaded
    drop_path: float = 0.3  # student only, Table 1; the same rate in every block (unstated; D2)
    # `subset` computes a residual branch on a share 1 - p of the batch, `sample` on all of it and
    # zeroes a share p of the results; unstated; D2
    drop_path_mode: Literal["subset", "sample"] = "subset"

    # -- data
    crop_size: int = 224  # pixels, Table 1; two global crops, no local ones
    crop_scale: tuple[float, float] = (0.32, 1.0)  # share of the image's area; unstated; RD and D2
    augmentation: Literal["radiology", "dinov2", "reddino-like"] = "reddino-like"  # unstated; RD
    sampling: Literal["uniform", "balanced"] = "uniform"  # unstated; RD
    # unstated: the abstract says 1.2 M images, Table 2 1.35 M of which 1.08 M train (ours: those)
    splits: tuple[str, ...] = ("train",)

    # -- masks of iBOT (all unstated; RD and D2)
    mask_probability: float = 0.5  # share of crops that get a mask
    mask_ratio: tuple[float, float] = (0.1, 0.5)  # share of a masked crop's tokens
    mask_exact: bool = False  # top blocks up to the drawn count, for static shapes

    # -- heads (Table 1)
    prototypes: int = 131072
    head_bottleneck: int = 256
    head_hidden: int = 2048
    head_layers: int = 3
    separate_head: bool = False  # unstated; Table 1 has one row for both, RD shares
    norm_last_layer: bool = False  # fix the prototypes' gain at 1; unstated; D2 trains it

    # -- losses
    dino_weight: float = 1.0  # Table 1
    ibot_weight: float = 1.0  # Table 1
    # alpha, which the ancestors' code applies to the DINO term beside its weight; unstated; RD
    dino_global_scale: float = 0.5
    koleo_weight: float = 0.0  # unstated; RD removed it
    gram_weight: float = 0.0  # Gram anchoring; ours, off
    gram_start_step: int = 100_000  # the anchor is taken here; only long runs need one
    gram_refresh_steps: int = 10_000  # steps between refreshes of the anchor
    gram_refreshes: int = 3  # the anchor then stays

    # -- targets
    centring: Literal["sinkhorn", "softmax"] = "sinkhorn"  # unstated; RD
    sinkhorn_iterations: int = 3  # unstated; D2
    student_temp: float = 0.1  # unstated; D2
    teacher_temp_start: float = 0.04  # Table 1
    teacher_temp: float = 0.07  # Table 1
    # unstated; RD's 30 epochs in a run of 10 end at 0.05 and never reach 0.07
    teacher_temp_warmup_epochs: float = 30.0

    # -- optimisation
    epochs: int = 10  # Table 1
    batch_size: int = 256  # images a rank, Table 1
    base_lr: float = 2e-4  # Table 1
    min_lr: float = 1e-6  # Table 1
    # The peak is base_lr · √(global batch / 1024), or base_lr itself; unstated; RD and D2
    lr_rule: Literal["sqrt_1024", "absolute"] = "sqrt_1024"
    warmup_epochs: float = 0.1  # unstated; RD
    weight_decay: float = 0.04  # start of a cosine, Table 1
    weight_decay_end: float = 0.2  # Table 1
    momentum: float = 0.994  # teacher's, start of a cosine, Table 1
    momentum_end: float = 1.0  # Table 1
    betas: tuple[float, float] = (0.9, 0.999)  # AdamW; unstated; D2
    clip_norm: float = 3.0  # for each sub-module; unstated; D2
    layer_decay: float = 1.0  # lr factor from block to block, towards the input; unstated; RD
    patch_embed_lr: float = 0.2  # lr factor of the patch embedding; unstated; D2
    freeze_last_layer_epochs: float = 0.0  # prototypes do not move; unstated; RD
    freeze_encoder_steps: int = 0  # heads warm up alone, for loaded encoders; ours, off

    # -- high-resolution adaptation: the last share of all steps (ours, off)
    high_res_share: float = 0.0
    high_res_size: int = 448  # pixels
    high_res_batch_divisor: int = 4
    high_res_lr: float = 0.1  # factor on the scheduled lr

    # -- computing
    # Rows of tokens whose prototype logits exist at one time; the values do not depend on it
    chunk_rows: int = 2048

    def __post_init__(self) -> None:
        """Refuse recipes under which a run could not mean what its author thinks."""
        architecture(self.size)
        for size in (self.crop_size, self.high_res_size):
            require_image_size(size)
        self._require_positive()
        self._require_shares()
        self._require_schedules()

    def _require_positive(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.high_res_batch_divisor > self.batch_size and self.high_res_share:
            raise UsageError(
                f"high_res_batch_divisor {self.high_res_batch_divisor} leaves no image of a batch "
                f"of {self.batch_size}; use a smaller divisor"
            )

    def _require_shares(self) -> None:
        for name in ("mask_probability", "momentum", "momentum_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")
        for name in ("drop_path", "high_res_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        for name in ("mask_ratio", "crop_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise UsageError(f"{name} is ({low}, {high}); use 0 < low <= high <= 1")

    def _require_schedules(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"warmup_epochs {self.warmup_epochs:g} is not shorter than the run of {self.epochs} "
                "epochs: the learning rate would only ever rise (DINOv2's default of 10 epochs "
                "does this in Table 1's run of 10). Use fewer, such as 0.1"
            )
        if self.freeze_last_layer_epochs >= self.epochs:
            raise UsageError(
                f"freeze_last_layer_epochs {self.freeze_last_layer_epochs:g} is not shorter than "
                f"the run of {self.epochs} epochs: the prototypes would never learn"
            )
        if self.min_lr > self.base_lr:
            raise UsageError(f"min_lr {self.min_lr} exceeds base_lr {self.base_lr}; lower it")

    def peak_lr(self, world_size: int) -> float:
        """Return the learning rate at the end of warm-up (D2's rule: √ of the global batch)."""
        if self.lr_rule == "absolute":
            return self.base_lr
        return self.base_lr * math.sqrt(self.batch_size * world_size / 1024)

    def steps_per_epoch(self, images: int, world_size: int) -> int:
        """Return ⌊images / (batch · ranks)⌋.

        Raises:
            UsageError: If the images do not fill one batch.
        """
        steps = images // (self.batch_size * world_size)
        if not steps:
            raise UsageError(
                f"{images} images do not fill one batch of {self.batch_size} on {world_size} "
                f"rank(s); use a batch_size of at most {images // world_size}, or more images"
            )
        return steps

    def tokens(self, crop_size: int | None = None) -> int:
        """Return N, the patch tokens of a crop."""
        return ((crop_size or self.crop_size) // PATCH) ** 2

    def notices(self) -> list[str]:
        """Return what a reader of Table 1 would not expect of this recipe."""
        found = []
        if self.init == "weights":
            found.append(
                f"layer_scale {self.layer_scale:g} has no effect: the loaded weights bring their "
                "own. The ancestors' code reads this row of Table 1 only when training from scratch"
            )
            if self.drop_path:
                found.append(
                    f"drop_path {self.drop_path:g} is applied, as Table 1 says; the ancestors' "
                    "code builds its student without it (preset paper-literal-hub: 0)"
                )
        if self.teacher_temp_warmup_epochs > self.epochs:
            share = self.epochs / self.teacher_temp_warmup_epochs
            end = self.teacher_temp_start + share * (self.teacher_temp - self.teacher_temp_start)
            found.append(
                f"the teacher temperature ends at {end:.3f} and never reaches "
                f"{self.teacher_temp:g}: its warm-up of {self.teacher_temp_warmup_epochs:g} epochs "
                f"is longer than the run of {self.epochs}"
            )
        if self.dino_global_scale != 1:
            found.append(
                f"DINO : iBOT is {self.dino_global_scale * self.dino_weight:g} : "
                f"{self.ibot_weight:g} (dino_global_scale {self.dino_global_scale:g}), although "
                "Table 1 weighs both with 1"
            )
        if self.gram_weight and self.high_res_share:
            found.append("the Gram anchor sees the student's own crops, also at high resolution")
        return found
