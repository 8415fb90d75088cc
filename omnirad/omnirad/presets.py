"""Named recipes. None is published by the authors: `paper` is reconstructed (see `recipe`)."""

from __future__ import annotations

from dataclasses import replace

from omnirad.architectures import ARCHITECTURES
from omnirad.errors import UsageError
from omnirad.recipe import PretrainRecipe

PAPER = PretrainRecipe()

# What the ancestors' code really did: its hub models are built without drop path.
PAPER_LITERAL_HUB = replace(PAPER, drop_path=0.0)

# Where no DINOv2 weights can be had. 13.5 M crops at Table 1's rate leave random weights nearly
# where they were; DINOv2 itself uses 4e-3.
SCRATCH = replace(
    PAPER,
    init="random",
    base_lr=1e-3,  # unstated; ours
    warmup_epochs=1.0,  # unstated; a tenth of the run, as D2
    layer_decay=0.9,  # unstated; D2
    freeze_last_layer_epochs=1.0,  # unstated; D2
    koleo_weight=0.1,  # unstated; D2
    teacher_temp_warmup_epochs=3.0,  # unstated; the share of the run that D2 uses
    dino_global_scale=1.0,  # unstated; ours
    augmentation="radiology",  # unstated; ours
    mask_exact=True,  # unstated; ours
)

# A CPU, some thousand small images, minutes to hours; every value is ours, none in the paper.
NANO = PretrainRecipe(
    size="nano",
    init="random",
    layer_scale=1.0,
    drop_path=0.0,
    crop_size=56,
    augmentation="radiology",
    sampling="balanced",
    mask_exact=True,
    prototypes=1024,
    head_bottleneck=64,
    head_hidden=512,
    dino_global_scale=1.0,
    koleo_weight=0.1,  # without it the features of so few images collapse to about 5 dimensions
    teacher_temp=0.04,
    teacher_temp_warmup_epochs=0.0,
    epochs=20,
    batch_size=64,
    base_lr=1e-3,
    lr_rule="absolute",
    warmup_epochs=2.0,
    momentum=0.99,
    high_res_share=0.2,
    high_res_size=112,
    high_res_batch_divisor=1,
    high_res_lr=0.3,
)

PRESETS: dict[str, PretrainRecipe] = {
    "paper": PAPER,
    "paper-literal-hub": PAPER_LITERAL_HUB,
    "scratch": SCRATCH,
    "nano": NANO,
}
BATCH = {"small": 256, "base": 196}  # images a rank, Table 1


def preset(name: str, size: str | None = None) -> PretrainRecipe:
    """Return a preset, for `size` if one is given (default: small, or the preset's own).

    Raises:
        UsageError: If there is no such preset, or it is not meant for that size.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}; use one of {', '.join(PRESETS)}")
    recipe = PRESETS[name]
    if size is None or size == recipe.size:
        return recipe
    if size == "base" and recipe.size == "small":
        return replace(recipe, size="base", batch_size=BATCH["base"])
    raise UsageError(
        f"preset {name!r} is not meant for size {size!r}; sizes are {', '.join(ARCHITECTURES)}: "
        "use preset nano for nano, and the others for small and base"
    )
