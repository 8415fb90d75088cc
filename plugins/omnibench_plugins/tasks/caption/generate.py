"""Captions of images by beam search, every option of it set here."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GenerationConfig

from omnibench.forward import chunks
from omnibench.interfaces import RunContext
from omnibench.training import autocast
from omnibench_plugins.tasks.caption.model import Captioner
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe, Decoding
from omnibench_plugins.tasks.caption.tokenizer import CaptionTokenizer
from omnibench_plugins.tasks.caption.tokens import VisualTokens


def generation_config(
    model: Captioner, recipe: CaptionRecipe, decoding: Decoding
) -> GenerationConfig:
    """Return a search that inherits nothing from a language model's own settings."""
    return GenerationConfig(
        max_new_tokens=decoding.new_tokens,
        min_length=0,
        num_beams=decoding.beams,
        num_return_sequences=1,
        do_sample=False,
        early_stopping=decoding.beams > 1,  # unstated; BART's own settings, as is forcing
        length_penalty=recipe.length_penalty,
        no_repeat_ngram_size=recipe.no_repeat_ngram,
        encoder_no_repeat_ngram_size=0,
        repetition_penalty=1.0,
        renormalize_logits=False,
        remove_invalid_values=False,
        use_cache=True,
        bos_token_id=model.ids.bos,
        pad_token_id=model.ids.pad,
        eos_token_id=model.ids.eos,
        decoder_start_token_id=model.start,
        forced_bos_token_id=model.ids.bos,
        forced_eos_token_id=model.ids.eos,
        return_dict_in_generate=False,
    )


@torch.no_grad()
def token_ids(
    model: Captioner, visual: Tensor, recipe: CaptionRecipe, decoding: Decoding
) -> list[list[int]]:
    """Search a caption for each image.

    Args:
        model: In eval mode.
        visual: An encoder's tokens [B, N, D_v].
        recipe: Length penalty and repeated n-grams.
        decoding: Beams and length.
    """
    config = generation_config(model, recipe, decoding)
    # Options that a config leaves open are read from the model's own.
    model.language_model.generation_config = config
    prefix = model.bridge(visual)
    found: list[list[int]] = model.language_model.generate(
        inputs_embeds=prefix, attention_mask=model.visible(prefix), generation_config=config
    ).tolist()
    return found


def captions(
    model: Captioner,
    tokens: VisualTokens,
    split: str,
    tokenizer: CaptionTokenizer,
    recipe: CaptionRecipe,
    decoding: Decoding,
    context: RunContext,
) -> list[str]:
    """Write a caption for every image of a split, in chunks of one size."""
    model.eval()
    count = len(tokens.rows[split])
    context.progress.start(f"captioning {split} images, {decoding.name}", count)
    written: list[str] = []
    for part, filled in chunks(torch.arange(count)):
        with autocast(context):
            found = token_ids(model, tokens.read(split, filled), recipe, decoding)
        written += [tokenizer.decode(ids) for ids in found[: len(part)]]
        context.progress.advance(len(part))
    return written
