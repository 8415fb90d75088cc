"""LayerScale of untrained encoders.

At its usual starting value of 1e-5 an untrained transformer hands its input through: every
image gives nearly the same class token. With 1 its blocks act, and "random weights" means it.
"""

import torch
from torch import nn

# timm (LayerScale, ConvNeXt; Eva; XCiT), transformers (DINOv2; BEiT)
NAMES = {
    "gamma",
    "gamma_1",
    "gamma_2",
    "gamma1",
    "gamma2",
    "gamma3",
    "lambda1",
    "lambda_1",
    "lambda_2",
}


@torch.no_grad()
def open_layer_scale(module: nn.Module) -> None:
    """Set every LayerScale parameter of `module` to 1."""
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] in NAMES:
            parameter.fill_(1.0)
