"""Arithmetic of a training step: what leaving out local crops saves (OmniRad, Sec. 3.1).

    python -m omnirad.tools.flops

The paper says about twice as fast. Multiplications explain less than that; the rest would be
decoding, augmenting and launching ten crops instead of two.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from omnirad.architectures import Size
from omnirad.model import create_model
from omnirad.presets import preset
from omnirad.recipe import PretrainRecipe
from omnirad.student import build_head

LOCAL_SIZE = 98  # pixels; D2's local crops for patches of 14
LOCAL_CROPS = 8
TRAINED = 3  # a forward pass and twice that backward


def counted(module: torch.nn.Module, *shape: int) -> int:
    """Return the multiply-accumulates of one forward pass on sizes only."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(*shape, device="meta"))
    return int(counter.get_total_flops()) // 2


def encoder_macs(size: Size, pixels: int) -> int:
    """Return the multiply-accumulates of one crop through the encoder."""
    with torch.device("meta"):
        encoder = create_model(size, None, img_size=pixels)
    return counted(encoder, 1, 3, pixels, pixels)


def head_macs(recipe: PretrainRecipe, width: int) -> int:
    """Return the multiply-accumulates of one row through the head and over the prototypes."""
    with torch.device("meta"):
        head = build_head(width, recipe)
    return counted(head.mlp, 1, width) + recipe.head_bottleneck * recipe.prototypes


def step_macs(recipe: PretrainRecipe, *, local_crops: int = 0) -> dict[str, float]:
    """Return multiply-accumulates an image: teacher forward, student forward and backward.

    Args:
        recipe: Size, heads and masks. Drop path is not counted: it saves in both cases.
        local_crops: Crops of 98 pixels an image, that the student alone sees.

    Returns:
        Of `encoder`, `heads` and `total`.
    """
    with torch.device("meta"):
        width = create_model(recipe.size, None).embed_dim
    share = recipe.mask_probability * sum(recipe.mask_ratio) / 2
    rows = 2 + 2 * share * recipe.tokens()  # class tokens and masked patches of two crops
    encoder = 2 * (1 + TRAINED) * encoder_macs(recipe.size, recipe.crop_size)
    encoder += local_crops * TRAINED * encoder_macs(recipe.size, LOCAL_SIZE)
    heads = (rows * (1 + TRAINED) + local_crops * TRAINED) * head_macs(recipe, width)
    return {"encoder": encoder, "heads": heads, "total": encoder + heads}


def main() -> None:
    """Print both sizes with and without local crops, and the ratio."""
    for size in ("small", "base"):
        recipe = preset("paper", size)
        without, with_local = step_macs(recipe), step_macs(recipe, local_crops=LOCAL_CROPS)
        for name, macs in (("2 crops of 224", without), ("and 8 of 98", with_local)):
            parts = ", ".join(f"{part} {value / 1e9:.1f}" for part, value in macs.items())
            print(f"{size:5} {name:14} GMAC an image: {parts}")
        ratio = with_local["total"] / without["total"]
        print(f"{size:5} ratio {ratio:.2f} (the paper says about 2)")


if __name__ == "__main__":
    main()
