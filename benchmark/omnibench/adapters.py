"""Low-rank adapters (OmniRad, Sec. 4.3: r = 8, alpha = 16 and r = 16, alpha = 32)."""

from __future__ import annotations

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from omnibench.errors import PluginError
from omnibench.features.frozen import digest_of


def add_adapters(module: nn.Module, targets: str | list[str], rank: int, dropout: float) -> int:
    """Freeze a module and add trainable adapters to its linear layers, in place.

    Outputs are unchanged until training: the second factor begins at zero.

    Args:
        module: What is adapted; its own parameters no longer require gradients.
        targets: Regex that whole module names must match, `all-linear`, or a list of names.
        rank: Rank r; alpha is 2r.
        dropout: Dropout before the first factor.

    Returns:
        Number of adapted layers.

    Raises:
        PluginError: If no layer matches.
    """
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=dropout, target_modules=targets, bias="none"
    )
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        raise PluginError(
            f"LoRA targets {targets!r} match no layer of {type(module).__name__} that can be "
            "adapted; use --tuning full or --tuning head, or correct the encoder's lora_targets"
        ) from error
    return sum(isinstance(m, LoraLayer) for m in module.modules())


def require_live_adapters(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Prove by one backward pass that every adapter of `model` can learn.

    Some attention implementations read a layer's weight and bypass the layer, so that its
    adapter is counted as trainable and never used. Parameters, buffers, training mode and
    random state are left as they were.

    Args:
        model: Classifier that maps images [B, 3, H, W] to logits [B, C].
        images: A small batch.
        labels: int64 [B].

    Raises:
        PluginError: Naming the adapters whose second factor gets no gradient.
    """
    factors = {n: p for n, p in model.named_parameters() if ".lora_B." in n}
    modes = {m: m.training for m in model.modules()}
    with torch.random.fork_rng():
        model.eval()
        loss = F.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(factors.values()), allow_unused=True)
    for module, training in modes.items():
        module.training = training
    inert = [
        name.split(".lora_B.")[0]
        for name, gradient in zip(factors, gradients, strict=True)
        if gradient is None or not bool(gradient.count_nonzero())
    ]
    if inert:
        shown = ", ".join(inert[:3]) + (", …" if len(inert) > 3 else "")
        raise PluginError(
            f"{len(inert)} of {len(factors)} LoRA adapters get no gradient ({shown}): the encoder "
            "bypasses these layers; take them out of its lora_targets or choose another tuning"
        )


def merge_adapters(model: nn.Module) -> None:
    """Add what every adapter of `model` does to the weights of its layer, in place."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and not module.merged:  # attention merges its own parts
            module.merge()


def untrained_digest(model: nn.Module) -> str:
    """Return the SHA-256 over the parameters that training must leave as they are."""
    return digest_of((n, p) for n, p in model.named_parameters() if not p.requires_grad)


def require_untrained(model: nn.Module, before: str) -> None:
    """Raise `PluginError` if parameters without gradients are not those of `before`."""
    if untrained_digest(model) != before:
        raise PluginError(
            "training changed parameters of the encoder that stay as they are under LoRA; its "
            "forward pass must not write to them"
        )
