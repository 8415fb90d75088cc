"""One run of captioning: texts and images, frozen tokens, training, a search for each variant."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from omnibench.features.readings import TOKENS
from omnibench.forward import parameter_counts
from omnibench.handle import EncoderHandle
from omnibench.interfaces import Dataset, Outcome, RunContext
from omnibench.metrics import wordnet
from omnibench.metrics.captioning import facts as metric_facts
from omnibench.metrics.concepts import concept_arrays
from omnibench.seeding import seed_initialisation
from omnibench_plugins.tasks.caption.bridge import Bridge
from omnibench_plugins.tasks.caption.fit import Course, Pairs, fit, total_steps
from omnibench_plugins.tasks.caption.generate import captions
from omnibench_plugins.tasks.caption.language_model import (
    description,
    from_scratch,
    pretrained,
    read_config,
)
from omnibench_plugins.tasks.caption.model import Captioner
from omnibench_plugins.tasks.caption.model_files import SCRATCH
from omnibench_plugins.tasks.caption.recipe import CaptionRecipe, Decoding
from omnibench_plugins.tasks.caption.samples import Texts, read_texts
from omnibench_plugins.tasks.caption.tokenizer import CaptionTokenizer
from omnibench_plugins.tasks.caption.tokens import VisualTokens

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray[Any, Any]]


class Trained(NamedTuple):
    """A captioner at its best step, and what it reads and writes with."""

    model: Captioner
    tokenizer: CaptionTokenizer
    tokens: VisualTokens
    course: Course


def run(
    handle: EncoderHandle, dataset: Dataset, recipe: CaptionRecipe, context: RunContext
) -> Iterator[Outcome]:
    """Train on one seed, then yield one outcome a decoding (OmniRad, Sec. 3.4 and 4.5).

    Raises:
        IntegrityError: If captions are missing, or files of the language model are damaged.
        PluginError: If an encoder changes although it is frozen.
        SetupError: If `OMNIBENCH_WORDNET` names a folder without WordNet's files.
    """
    features = handle.features(
        TOKENS,
        normalization=recipe.normalization,
        size=recipe.image_size,
        antialias=True,
        device=context.device,
        precision=context.precision,
    )
    # What cannot work is refused before data are read.
    wordnet.found()  # METEOR's synonyms; raises where a wrong folder is named
    _ = features.facts
    asset = context.assets.get("language_model")
    if asset is not None:
        read_config(asset, recipe)
    texts = read_texts(dataset)
    tokens = VisualTokens(features, dataset, recipe, context)
    trained = train(tokens, texts, recipe, context, order=dataset.name)
    for number, decoding in enumerate(recipe.searches):
        if decoding.name not in context.finished:
            yield _outcome(trained, texts, recipe, context, decoding, headline=number == 0)


def train(
    tokens: VisualTokens,
    texts: dict[str, Texts],
    recipe: CaptionRecipe,
    context: RunContext,
    *,
    order: str,
) -> Trained:
    """Train bridge and language model.

    Args:
        tokens: Of every split.
        texts: Captions of every split.
        recipe: The protocol.
        context: Seed, device, precision, progress, the language model's files.
        order: Name of the data order.
    """
    seed_initialisation(context.seed)
    asset = context.assets.get("language_model")
    if asset is None:
        written = [text for _, text in texts["train"].pairs]
        language_model, tokenizer = from_scratch(written, recipe)
    else:
        language_model, tokenizer = pretrained(asset, read_config(asset, recipe), recipe)
    bridge = Bridge(tokens.facts.embed_dim, language_model.config.d_model, recipe)
    model = Captioner(bridge, language_model, tokenizer.ids, recipe).to(context.device)
    pairs = {name: _pairs(name, texts[name], tokenizer, tokens) for name in ("train", "val")}
    for warning in _flags_of_protocol(len(pairs["train"]), recipe):
        log.warning("%s", warning)
    course = fit(model, pairs["train"], pairs["val"], recipe=recipe, context=context, order=order)
    return Trained(model, tokenizer, tokens, course)


def _pairs(name: str, texts: Texts, tokenizer: CaptionTokenizer, tokens: VisualTokens) -> Pairs:
    rows, written = zip(*texts.pairs, strict=True)
    return Pairs(tokenizer.encode(written), torch.tensor(rows), tokens, name)


def _outcome(
    trained: Trained,
    texts: dict[str, Texts],
    recipe: CaptionRecipe,
    context: RunContext,
    decoding: Decoding,
    *,
    headline: bool,
) -> Outcome:
    """Write the test captions of one decoding, and for the headline's those of validation."""
    model, tokenizer, tokens, course = trained
    start = time.perf_counter()
    found = captions(model, tokens, "test", tokenizer, recipe, decoding, context)
    seconds = time.perf_counter() - start + tokens.rows["test"].seconds
    predictions = _arrays("test", texts, found, tokenizer, recipe)
    if headline:
        of_val = captions(model, tokens, "val", tokenizer, recipe, decoding, context)
        predictions |= _arrays("val", texts, of_val, tokenizer, recipe)
    total, trainable = parameter_counts(model)
    config = model.language_model.config
    return Outcome(
        variant=decoding.name,
        predictions=predictions,
        params_total=total + tokens.facts.params,
        params_trainable=trainable,
        images_per_second=len(found) / seconds,
        details={
            "language_model": description(config),
            "visual_tokens": int(tokens.read("test", torch.arange(1)).shape[1]),
            "best_step": course.best_step,
            "train_losses": course.train_losses,
            "val_losses": [list(pair) for pair in course.val_losses],
            "metrics": metric_facts(predictions),
            "flags": [
                *_flags_of_protocol(len(texts["train"].pairs), recipe),
                *_flags_of_captions(found),
                *_flags_of_language_model(config, recipe),
            ],
        },
        weights=_weights(model, tokenizer),
    )


def _arrays(
    name: str,
    texts: dict[str, Texts],
    found: list[str],
    tokenizer: CaptionTokenizer,
    recipe: CaptionRecipe,
) -> Arrays:
    """Name what is stored of a split; rows of references are padded with empty texts."""
    split = texts[name].split
    references = [
        [_reference(text, tokenizer, recipe) for text in captions]
        for captions in texts[name].captions
    ]
    most = max(map(len, references))
    arrays: Arrays = {
        f"{name}_id": split.ids,
        f"{name}_captions": np.array(found, dtype=np.str_),
        f"{name}_references": np.array(
            [row + [""] * (most - len(row)) for row in references], dtype=np.str_
        ),
    }
    if split.groups is not None:
        arrays[f"{name}_group"] = split.groups
    return arrays | concept_arrays(texts["train"].split, split, name)


def _reference(text: str, tokenizer: CaptionTokenizer, recipe: CaptionRecipe) -> str:
    """Return a reference in full, or as it is left after `text_max_length` tokens."""
    return (
        text if recipe.reference_text == "full" else tokenizer.decode(tokenizer.encode([text])[0])
    )


def _flags_of_protocol(pairs: int, recipe: CaptionRecipe) -> list[str]:
    """Say so if training ends before its rate has risen."""
    total = total_steps(pairs, recipe)
    if total > recipe.warmup_steps:
        return []
    flag = (
        f"WARM-UP: {recipe.warmup_steps} warm-up steps, but training ends after {total}: the rate "
        f"never reaches {recipe.lr:g}; use --set warmup_steps=N"
    )
    return [flag]


def _flags_of_captions(found: list[str]) -> list[str]:
    """Say so if every image was given one caption."""
    if len(set(found)) > 1:
        return []
    return ["CONSTANT: some seed writes one caption for every image"]


def _flags_of_language_model(config: Any, recipe: CaptionRecipe) -> list[str]:
    if recipe.language_model != SCRATCH:
        return []
    return [f"language model from scratch: {description(config)}, trained on these captions only"]


def _weights(model: Captioner, tokenizer: CaptionTokenizer) -> Arrays:
    """Return all that was trained, and the tokenizer without which it says nothing."""
    arrays = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    text = tokenizer.backend.to_str().encode()
    return arrays | {"tokenizer.json": np.frombuffer(text, dtype=np.uint8)}
