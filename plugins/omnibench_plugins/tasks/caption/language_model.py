"""BART: with weights from checked files, or small and drawn from the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration

from omnibench.cards import Asset
from omnibench.checkpoint import load_checked, read_state
from omnibench.errors import IntegrityError, UsageError
from omnibench_plugins.tasks.caption.model_files import CONFIG, POSITIONS, TOKENIZER, too_long
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe
from omnibench_plugins.tasks.caption.tokenizer import (
    CaptionTokenizer,
    Ids,
    read_tokenizer,
    train_tokenizer,
)

# Names under which BART's one embedding matrix may be stored
TIED = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
BIAS = "final_logits_bias"  # zeros; files of the bare model lack it
REMEDY = "It belongs to another model than the config.json beside it; fetch all files of one model."


def scratch_config(vocabulary: int) -> BartConfig:
    """Return BART at d_model 256 with 3 + 3 layers of 4 heads; the rest is BART's."""
    ids = Ids()
    return BartConfig(
        vocab_size=vocabulary,
        d_model=256,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
        max_position_embeddings=POSITIONS,
        bos_token_id=ids.bos,
        pad_token_id=ids.pad,
        eos_token_id=ids.eos,
    )


def read_config(asset: Asset, recipe: CaptionRecipe) -> BartConfig:
    """Read a language model's `config.json`.

    Raises:
        IntegrityError: If it is no JSON object.
        UsageError: If it is no BART, or has fewer positions than the recipe needs.
    """
    path = asset.files[CONFIG]
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        kind = fields["model_type"]
        config = BartConfig.from_dict(fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is no model's config ({error}); fetch it again") from error
    if kind != "bart":
        raise UsageError(f"language_model {asset.name} is of type {kind!r}; this task takes BART")
    limit = int(config.max_position_embeddings)
    if reason := too_long(recipe.merger_tokens, recipe.longest_text, limit):
        raise UsageError(reason)
    return config


def pretrained(
    asset: Asset, config: BartConfig, recipe: CaptionRecipe
) -> tuple[BartForConditionalGeneration, CaptionTokenizer]:
    """Build the language model of checked files, with its tokenizer.

    Raises:
        IntegrityError: If a file is damaged, or the files do not belong together.
    """
    ids = Ids(config.bos_token_id, config.pad_token_id, config.eos_token_id)
    tokenizer = read_tokenizer(asset.files[TOKENIZER], ids, recipe.text_max_length)
    if tokenizer.size > config.vocab_size:
        raise IntegrityError(
            f"{asset.files[TOKENIZER]} knows {tokenizer.size} tokens, the language model "
            f"{config.vocab_size}; fetch all files of one model"
        )
    model = BartForConditionalGeneration(config)
    path = next(iter(asset.files.values()))
    state = named_as_here(read_state(path), path)
    load_checked(model, state, head_prefixes=(), path=path, remedy=REMEDY)
    return model, tokenizer


def named_as_here(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return a checkpoint under the names of the model that writes, tied weights filled in.

    Published files hold the bare model (no prefix, no head) or the whole one, and the one
    embedding matrix under one to four names.

    Raises:
        IntegrityError: If there is no embedding, or the names hold different ones.
    """
    bare = not any(name.startswith("model.") for name in state)
    named = {
        f"model.{name}" if bare and name not in (BIAS, TIED[-1]) else name: tensor
        for name, tensor in state.items()
        if not name.endswith("coder.version")  # a number that older files carry along
    }
    stored = [named[name] for name in TIED if name in named]
    if not stored:
        raise IntegrityError(f"{path} has no embedding of words ({TIED[0]}). {REMEDY}")
    if any(not torch.equal(stored[0], other) for other in stored[1:]):
        raise IntegrityError(
            f"{path} holds different matrices under {', '.join(n for n in TIED if n in named)}, "
            "which are one in BART; it was changed after training, or is damaged"
        )
    named |= dict.fromkeys(TIED, stored[0])
    named.setdefault(BIAS, torch.zeros(1, len(stored[0])))
    return named


def from_scratch(
    texts: list[str], recipe: CaptionRecipe
) -> tuple[BartForConditionalGeneration, CaptionTokenizer]:
    """Draw a small BART from torch's generator, its tokenizer trained on the given captions."""
    tokenizer = train_tokenizer(texts, recipe.text_max_length)
    return BartForConditionalGeneration(scratch_config(tokenizer.size)), tokenizer


def description(config: Any) -> str:
    """Return a language model's size in words."""
    return (
        f"BART {config.d_model} wide, {config.encoder_layers}+{config.decoder_layers} layers, "
        f"vocabulary {config.vocab_size:,}"
    )
