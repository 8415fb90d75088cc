"""Captioning against the straightforward way: a training step, a search, a study of four searches.

    OMP_NUM_THREADS=1 python tests/performance/caption_speed.py --rounds 3

The straightforward way runs the frozen encoder for every caption of every epoch, fills every
caption up to the 128 tokens of the longest allowed, searches image by image without keeping keys
and values, and trains anew for each way to search. Random weights of DINOv2-S or -B and of BART
base or the small one (`--language-model scratch`); made-up images, captions of 10 to 50 tokens. The
study is added up from times per image.
"""

from __future__ import annotations

import argparse
import copy
from statistics import median

import torch
from interleaved import times, told
from torch import Tensor
from torch.nn import functional as F
from transformers import BartForConditionalGeneration

from omnibench.features.readings import TOKENS
from omnibench.interfaces import RunContext
from omnibench.recipe import override
from omnibench_plugins.encoders.timm_encoder import build
from omnibench_plugins.tasks.caption.bridge import Bridge
from omnibench_plugins.tasks.caption.generate import generation_config, token_ids
from omnibench_plugins.tasks.caption.model import IGNORED, Captioner
from omnibench_plugins.tasks.caption.parts import shape_of
from omnibench_plugins.tasks.caption.recipe import PAPER, CaptionRecipe, Decoding
from omnibench_plugins.tasks.caption.tokenizer import Ids

BATCH = 4  # captions a step, and images a search
LENGTHS = (10, 51)
ENCODERS = {"small": "vit_small_patch14_dinov2", "base": "vit_base_patch14_dinov2"}
STUDY = {"train": 59_958, "val": 9_904, "test": 9_927, "epochs": 20}  # ROCOv2 as in the paper


class Setting:
    """A frozen encoder, its tokens of a few images, and two equal captioners."""

    def __init__(self, encoder: str, recipe: CaptionRecipe) -> None:
        torch.manual_seed(0)
        self.recipe = recipe
        self.encoder = build(encoder, random_init=True).freeze()
        self.images = torch.rand(BATCH, 3, recipe.image_size, recipe.image_size)
        self.tokens = self.read()
        config = shape_of(recipe, RunContext(seed=0))
        model = BartForConditionalGeneration(config)
        self.model = Captioner(
            Bridge(self.encoder.embed_dim, config.d_model, recipe), model, Ids(), recipe
        )
        self.twin = copy.deepcopy(self.model)
        self.fast = torch.optim.AdamW(self.model.parameters(), lr=recipe.lr, fused=True)
        self.slow = torch.optim.AdamW(self.twin.parameters(), lr=recipe.lr, foreach=False)
        self.texts = [
            [0, *torch.randint(5, config.vocab_size, (length,)).tolist(), 2]
            for length in torch.randint(*LENGTHS, (BATCH,)).tolist()
        ]

    @torch.no_grad()  # inference tensors could not be trained on
    def read(self) -> Tensor:
        """Run the frozen encoder, image by image as tokens are kept: bit-equal to a batch."""
        return torch.cat(
            [TOKENS.read(self.encoder, image[None])["patches"] for image in self.images]
        )

    def step(self, stored: bool) -> Tensor:
        """Train on one batch; return its loss."""
        model, optimiser = (self.model, self.fast) if stored else (self.twin, self.slow)
        tokens = self.tokens if stored else self.read()
        torch.manual_seed(1)  # dropout
        model.train()
        loss = model(tokens, self.texts).total if stored else self.loss_filled_up(tokens)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.detach()

    def loss_filled_up(self, tokens: Tensor) -> Tensor:
        """Return the loss with captions filled up to the longest allowed."""
        longest, model = self.recipe.text_max_length, self.twin
        labels = torch.full((BATCH, longest), IGNORED)
        inputs = torch.full((BATCH, longest), model.ids.pad)
        for row, ids in enumerate(self.texts):
            labels[row, : len(ids)] = torch.tensor(ids)
            inputs[row, : len(ids)] = torch.tensor([model.start, *ids[:-1]])
        prefix = model.bridge(tokens)
        logits = model.language_model(
            inputs_embeds=prefix,
            attention_mask=model.visible(prefix),
            decoder_input_ids=inputs,
            use_cache=False,
        ).logits
        return F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    @torch.no_grad()
    def search(self, decoding: Decoding) -> list[list[int]]:
        """Write captions of a batch at once, keys and values kept."""
        return token_ids(self.model.eval(), self.tokens, self.recipe, decoding)

    @torch.no_grad()
    def search_plainly(self, decoding: Decoding) -> list[list[int]]:
        """Encode and search image by image, everything computed again for each token."""
        model, found = self.model.eval(), []
        config = generation_config(model, self.recipe, decoding)
        config.use_cache = False
        model.language_model.generation_config = config
        for tokens in self.read().split(1):
            prefix = model.bridge(tokens)
            [ids] = model.language_model.generate(
                inputs_embeds=prefix, attention_mask=model.visible(prefix), generation_config=config
            ).tolist()
            found.append(ids)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--language-model", default="facebook/bart-base")
    parser.add_argument("--encoder", choices=ENCODERS, default="base")
    parser.add_argument("--new", type=int, default=32, help="Tokens of a search, at most")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    recipe = override(PAPER, {"language_model": chosen.language_model})
    setting = Setting(ENCODERS[chosen.encoder], recipe)
    assert torch.equal(setting.read(), setting.tokens)
    with torch.no_grad():
        kept = setting.model.eval()(setting.tokens, setting.texts).total
        setting.twin.eval()
        anew = setting.loss_filled_up(setting.read())
    exact = f"tokens bit-equal, losses differ by {float((kept / anew - 1).abs()):.1e} of themselves"
    step = times(
        {"slow": lambda: setting.step(False), "fast": lambda: setting.step(True)}, chosen.rounds
    )
    told("training step", step["slow"], step["fast"], exact)
    slow_study, fast_study = [0.0] * chosen.rounds, [0.0] * chosen.rounds
    for beams in (5, 1):
        decoding = Decoding(beams, chosen.new)
        same = _texts(setting.search(decoding)) == _texts(setting.search_plainly(decoding))
        found = times(
            {
                "slow": lambda: setting.search_plainly(decoding),  # noqa: B023
                "fast": lambda: setting.search(decoding),  # noqa: B023
            },
            chosen.rounds,
        )
        told(f"search, {beams} beams", found["slow"], found["fast"], f"captions equal: {same}")
        # of the four searches of Table 12 three are by several beams
        share = STUDY["test"] * (3 if beams == 5 else 1) / BATCH
        slow_study = [a + share * b for a, b in zip(slow_study, found["slow"], strict=True)]
        fast_study = [a + share * b for a, b in zip(fast_study, found["fast"], strict=True)]
    encode = times({"encode": setting.read}, chosen.rounds)["encode"]
    print(f"encoder alone: {median(encode) / BATCH:.3g} s an image")
    trained = STUDY["epochs"] * STUDY["train"] / BATCH
    images = (STUDY["train"] + STUDY["val"] + STUDY["test"]) / BATCH
    slow_once = [a + trained * s for a, s in zip(slow_study, step["slow"], strict=True)]
    slow_each = [a + 4 * trained * s for a, s in zip(slow_study, step["slow"], strict=True)]
    fast = [
        a + trained * s + images * e
        for a, s, e in zip(fast_study, step["fast"], encode, strict=True)
    ]
    told(f"study {STUDY}, four searches of one training", slow_once, fast)
    told("study, a training for each search", slow_each, fast)


def _texts(found: list[list[int]]) -> list[list[int]]:
    """Drop padding, which a batch has and a single image has not."""
    return [[token for token in ids if token != Ids().pad] for ids in found]


if __name__ == "__main__":
    main()
