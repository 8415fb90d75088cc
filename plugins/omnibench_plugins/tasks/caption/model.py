"""The trained part: bridge and language model, on visual tokens of a frozen encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BartForConditionalGeneration

from omnibench_plugins.tasks.caption.bridge import Bridge
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe
from omnibench_plugins.tasks.caption.tokenizer import Ids

IGNORED = -100  # label of padding


class TokenLoss(NamedTuple):
    """Cross-entropy over the tokens of some captions."""

    total: Tensor  # summed over tokens
    tokens: int


class Captioner(nn.Module):
    """Reads visual tokens, writes captions (OmniRad, Sec. 3.4).

    Args:
        bridge: Projection and patch merger.
        language_model: BART; its encoder reads the bridge's prefix in place of words.
        ids: Its begin, padding and end.
        recipe: What the decoder begins with, and which visual tokens a caption sees.
    """

    def __init__(
        self,
        bridge: Bridge,
        language_model: BartForConditionalGeneration,
        ids: Ids,
        recipe: CaptionRecipe,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.bridge = bridge
        self.ids = ids
        self.start = ids.eos if recipe.decoder_start == "eos" else ids.bos
        self.masked = recipe.visual_mask == "caption"

    def forward(self, visual: Tensor, captions: list[list[int]]) -> TokenLoss:
        """Return the loss of captions given their images: - sum_t log p(y_t | y_<t, P).

        Args:
            visual: An encoder's tokens [B, N, D_v].
            captions: Token ids of each, begin and end included.
        """
        prefix = self.bridge(visual)  # [B, K, D_l]
        labels = padded(captions, IGNORED).to(prefix.device)  # [B, T]
        inputs = padded([[self.start, *ids[:-1]] for ids in captions], self.ids.pad)
        logits = self.language_model(
            inputs_embeds=prefix,
            attention_mask=self.visible(prefix, captions),
            decoder_input_ids=inputs.to(prefix.device),
            use_cache=False,
        ).logits
        total = F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return TokenLoss(total, sum(map(len, captions)))

    def visible(self, prefix: Tensor, captions: list[list[int]] | None = None) -> Tensor:
        """Return which visual tokens are seen, int64 [B, K]: all, or what the quirk leaves.

        The released code hands a caption's padding mask to BART's encoder. Transformers 4.57 cut
        it to K columns, so that a caption of n tokens saw the first n visual tokens; newer
        versions refuse the shape. In generation every token is seen.
        """
        mask = torch.ones(prefix.shape[:2], dtype=torch.int64, device=prefix.device)
        if self.masked and captions is not None:
            lengths = torch.tensor([len(ids) for ids in captions], device=prefix.device)
            mask *= torch.arange(mask.shape[1], device=prefix.device) < lengths[:, None]
        return mask


def padded(sequences: list[list[int]], filler: int) -> Tensor:
    """Return sequences of ids as one int64 [B, T], filled up on the right."""
    longest = max(map(len, sequences))
    return torch.tensor([ids + [filler] * (longest - len(ids)) for ids in sequences])
