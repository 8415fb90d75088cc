"""What a tuning trains: a head alone, or encoder and head as one module."""

from __future__ import annotations

from torch import Tensor, nn

from omnibench.adapters import add_adapters
from omnibench.encoder import Encoder
from omnibench.errors import UsageError
from omnibench_plugins.tasks.cls.accept import no_lora
from omnibench_plugins.tasks.cls.recipe import ClsRecipe


class Head(nn.Module):
    """Dropout and one linear layer (unstated; the released code's)."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features [B, Dp] to logits [B, C]."""
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits


class Classifier(nn.Module):
    """An encoder with a head; `adapters` counts its LoRA layers."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.adapters = 0

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] in [0, 1] to logits [B, C]."""
        logits: Tensor = self.head(self.encoder(images).pooled)
        return logits


class HeadOnly(nn.Module):
    """A head on pooled features of an encoder that stays as it is."""

    adapters = 0

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features [B, Dp] to logits [B, C]."""
        logits: Tensor = self.head(pooled)
        return logits

    @property
    def flops_per_image(self) -> int:
        """Operations of the linear layer, 2 per multiply-add."""
        return 2 * self.head.linear.weight.numel()


def build_classifier(
    encoder: Encoder, classes: int, recipe: ClsRecipe, lora_targets: str | None
) -> Classifier:
    """Add a fresh head and decide what is trained with it.

    The head is drawn before the adapters, so that all tunings of a seed begin with the same one.

    Args:
        encoder: A fresh copy, already configured; becomes part of the result.
        classes: Number of classes C.
        recipe: Says the tuning: `full` or one of LoRA's.
        lora_targets: Layers that LoRA adapts, see `omnibench.encoder.Encoder`.

    Raises:
        UsageError: If LoRA is asked of an encoder without targets.
    """
    model = Classifier(encoder, Head(encoder.pooled_dim, classes, recipe.head_dropout))
    if recipe.tuning == "full":
        encoder.requires_grad_(True)
    else:
        if lora_targets is None:
            raise UsageError(no_lora("this encoder"))
        rank, dropout = recipe.lora_rank, recipe.lora_dropout
        encoder.requires_grad_(False)  # also what lies outside the backbone
        model.adapters = add_adapters(encoder.backbone, lora_targets, rank, dropout)
        if recipe.lora_head == "adapter_only":
            model.adapters += add_adapters(model.head, ["linear"], rank, dropout)
    return model
