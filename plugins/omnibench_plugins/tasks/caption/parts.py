"""The parts of a captioning run, ready to be timed on made-up tokens and texts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration

from omnibench.errors import UsageError
from omnibench.features.readings import TOKENS
from omnibench.features.rows import Layout
from omnibench.forward import CHUNK, autocast_to
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Part, RunContext
from omnibench.training import autocast
from omnibench_plugins.tasks.caption.bridge import Bridge
from omnibench_plugins.tasks.caption.generate import token_ids
from omnibench_plugins.tasks.caption.language_model import read_config, scratch_config
from omnibench_plugins.tasks.caption.model import Captioner
from omnibench_plugins.tasks.caption.model_files import SCRATCH
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe, Decoding
from omnibench_plugins.tasks.caption.tokenizer import VOCABULARY, Ids

# Published shapes, for timing where the files are not at hand; the rest is BartConfig's default,
# which is large's.
SHAPES = {
    "facebook/bart-base": {
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
    },
    "facebook/bart-large": {},
}


def parts(handle: EncoderHandle, recipe: CaptionRecipe, context: RunContext) -> list[Part]:
    """Return encoder, training step, validation loss, and a search for each decoding.

    Captions are as long as the recipe lets them be, so that these are the most a run can take.
    """
    features = handle.features(
        TOKENS,
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=True,
        device=context.device,
        precision=context.precision,
    )
    visual = _visual_tokens(features.facts.layout, recipe, context)
    images = torch.rand(CHUNK, 3, recipe.image_size, recipe.image_size, device=context.device)
    model = _captioner(features.facts.embed_dim, recipe, context).to(context.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, fused=True)
    texts = [[model.ids.bos, *[4] * (recipe.text_max_length - 2), model.ids.eos]] * CHUNK

    @torch.inference_mode()
    def encode() -> None:
        with autocast_to(features.precision, context.device):
            features.reading.read(features.encoder, images)

    def loss() -> Tensor:
        with autocast(context):
            found: Tensor = model(visual, texts).total
        return found

    def train() -> None:
        model.train()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def validate() -> None:
        model.eval()
        loss()

    def search(decoding: Decoding) -> Callable[[], object]:
        def write() -> None:
            model.eval()
            with autocast(context):
                token_ids(model, visual, recipe, decoding)

        return write

    return [
        Part(name="encoder", stage="once", images=CHUNK, call=encode),
        Part(name="training step", stage="training", images=CHUNK, call=train),
        Part(name="validation loss", stage="evaluation", images=CHUNK, call=validate),
        *(
            Part(name=each.name, stage="prediction", images=CHUNK, call=search(each))
            for each in recipe.searches
        ),
    ]


def _visual_tokens(layout: Layout, recipe: CaptionRecipe, context: RunContext) -> Tensor:
    counted = [c for c in layout if c.name == "patches" or recipe.visual_tokens == "all"]
    length = sum(column.shape[0] for column in counted)
    return torch.rand(CHUNK, length, counted[0].shape[1], device=context.device)


def _captioner(embed_dim: int, recipe: CaptionRecipe, context: RunContext) -> Captioner:
    """Return a captioner of drawn weights: speed does not depend on them."""
    config = shape_of(recipe, context)
    ids = Ids(config.bos_token_id, config.pad_token_id, config.eos_token_id)
    bridge = Bridge(embed_dim, config.d_model, recipe)
    return Captioner(bridge, BartForConditionalGeneration(config), ids, recipe)


def shape_of(recipe: CaptionRecipe, context: RunContext) -> BartConfig:
    """Return the language model's shape: that of its files, or a published one.

    Raises:
        UsageError: If neither is known.
    """
    asset = context.assets.get("language_model")
    if recipe.language_model == SCRATCH:
        return scratch_config(VOCABULARY)
    if asset is not None:
        return read_config(asset, recipe)
    if recipe.language_model in SHAPES:
        return BartConfig(**SHAPES[recipe.language_model])
    raise UsageError(
        f"the shape of language model {recipe.language_model} is not known without its files; add "
        "--dataset NAME, so that they are looked for"
    )
