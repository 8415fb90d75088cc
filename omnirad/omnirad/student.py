"""The network that is trained: an encoder, a mask token and one head or two, in one module.

One module, so that under data parallelism one reducer covers all gradients.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from omnirad.drop_path import KEEP_ALL, DropPath
from omnirad.heads import ProjectionHead
from omnirad.recipe import PretrainRecipe


class Projections(NamedTuple):
    """What a forward pass gives: features, and unit vectors with the prototypes they face."""

    cls: Tensor  # class tokens after the final norm [2b, D]
    patches: Tensor  # patch tokens after the final norm [2b, N, D]
    cls_vectors: Tensor  # [2b, bottleneck]
    cls_prototypes: Tensor  # [K, bottleneck]
    patch_vectors: Tensor  # of the asked positions [m, bottleneck]
    patch_prototypes: Tensor  # the same tensor as `cls_prototypes` where the head is shared


class Student(nn.Module):
    """Encoder, mask token and heads. The teacher is a copy of it.

    Args:
        encoder: A timm VisionTransformer with a class token and no registers, built with
            `dynamic_img_size`, so that its position table serves every crop size.
        recipe: Describes the heads.
    """

    def __init__(self, encoder: nn.Module, recipe: PretrainRecipe) -> None:
        super().__init__()
        self.encoder = encoder
        width = cast(int, encoder.embed_dim)
        # DINOv2 has it too; timm has not, so it stays out of the encoder's keys.
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.dino_head = build_head(width, recipe)
        self.ibot_head = build_head(width, recipe) if recipe.separate_head else None

    @property
    def depth(self) -> int:
        """Blocks of the encoder."""
        return len(self._blocks)

    @property
    def _blocks(self) -> nn.Sequential:
        return cast(nn.Sequential, self.encoder.blocks)

    def sub_modules(self) -> dict[str, list[Tensor]]:
        """Return the parameters whose gradients are clipped together."""
        parts: dict[str, list[Tensor]] = {
            "encoder": [*self.encoder.parameters(), self.mask_token],
            "dino_head": [*self.dino_head.parameters()],
        }
        if self.ibot_head is not None:
            parts["ibot_head"] = [*self.ibot_head.parameters()]
        return parts

    def forward(
        self,
        images: Tensor,
        positions: Tensor,
        masks: Tensor | None = None,
        drop_path: DropPath = KEEP_ALL,
    ) -> Projections:
        """Encode crops and project class tokens and the patches at some positions.

        Args:
            images: Normalised crops [2b, 3, S, S].
            positions: Flat indices into [2b · N] of the patches to project, [m].
            masks: Patches that the encoder does not see, bool [2b, N].
            drop_path: Draws for the residual branches.
        """
        cls, patches = self.encode(images, masks, drop_path)
        chosen = patches.flatten(0, 1).index_select(0, positions)
        if self.ibot_head is not None:
            cls_vectors, patch_vectors = self.dino_head(cls), self.ibot_head(chosen)
            prototypes = self.dino_head.prototypes(), self.ibot_head.prototypes()
        else:
            both = self.dino_head(torch.cat([cls, chosen]))
            cls_vectors, patch_vectors = both.split([len(cls), len(chosen)])
            prototypes = (self.dino_head.prototypes(),) * 2
        return Projections(cls, patches, cls_vectors, prototypes[0], patch_vectors, prototypes[1])

    def encode(
        self, images: Tensor, masks: Tensor | None = None, drop_path: DropPath = KEEP_ALL
    ) -> tuple[Tensor, Tensor]:
        """Return class [B, D] and patch tokens [B, N, D] after the final norm.

        timm's own forward pass, in which masked patches become the mask token before positions
        are added, and branches are dropped for a subset of the batch.
        """
        vit = cast(Any, self.encoder)
        tokens = vit.patch_embed(images)  # [B, h, w, D]
        if masks is not None:
            hidden = masks.view(*tokens.shape[:3], 1)
            tokens = torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)
        x = vit._pos_embed(tokens)  # [B, 1 + N, D]
        for index, block in enumerate(vit.blocks):
            x = drop_path.add(x, partial(attention, block), 2 * index)
            x = drop_path.add(x, partial(feed_forward, block), 2 * index + 1)
        x = vit.norm(x)
        return x[:, 0], x[:, 1:]


def attention(block: Any, x: Tensor) -> Tensor:
    """Return a timm block's first residual branch."""
    return cast(Tensor, block.ls1(block.attn(block.norm1(x))))


def feed_forward(block: Any, x: Tensor) -> Tensor:
    """Return a timm block's second residual branch."""
    return cast(Tensor, block.ls2(block.mlp(block.norm2(x))))


def build_head(width: int, recipe: PretrainRecipe) -> ProjectionHead:
    """Return a head of the recipe's geometry for features of `width`."""
    return ProjectionHead(
        width,
        recipe.prototypes,
        hidden=recipe.head_hidden,
        bottleneck=recipe.head_bottleneck,
        layers=recipe.head_layers,
        norm_last_layer=recipe.norm_last_layer,
    )
