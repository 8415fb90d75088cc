"""How captioning is trained and decoded: the paper's protocol and its named variants."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from omnibench.cards import Normalization
from omnibench.errors import UsageError
from omnibench_plugins.tasks.caption.model_files import files_of
from omnibench_plugins.tasks.checks import require_images, require_positive

SHORTEST = 3  # tokens of a caption: begin, one token, end


class Decoding(NamedTuple):
    """How captions are searched for."""

    beams: int
    new_tokens: int  # at most, begin and end included

    @property
    def name(self) -> str:
        """Variant of the record, `beam5-64`."""
        return f"beam{self.beams}-{self.new_tokens}"


def decoding(name: str) -> Decoding:
    """Return the decoding of a name such as `beam5-64`.

    Raises:
        UsageError: If it is no such name.
    """
    found = re.fullmatch(r"beam([1-9]\d?)-([1-9]\d{0,3})", name)
    if not found:
        raise UsageError(
            f"decodings has {name!r}; write beamB-N with B beams (1 to 99) and at most N new tokens"
        )
    return Decoding(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe:
    """A frozen encoder, a patch merger and BART (OmniRad, Sec. 3.4).

    Defaults are the paper's. `unstated` marks what it does not say; the value is then that of
    the authors' released captioning code unless another origin is named.
    """

    # unstated; one image processor serves all encoders: ImageNet's statistics, squashed to the
    # side below, bilinear with antialias
    normalization: Normalization = "imagenet"
    pool: Literal["checkpoint"] = "checkpoint"  # no choice: captioning reads tokens
    image_size: int = 224  # pixels; unstated
    # N = (H/14)^2 patch tokens; `all` adds class token and registers, as the released code does
    visual_tokens: Literal["patches", "all"] = "patches"
    merger_tokens: int = 64  # K
    merger_scale: Literal["inv_sqrt_d", "none"] = "inv_sqrt_d"  # of the merger's logits
    merger_norm: bool = False  # a second LayerNorm at the merger's input
    # Which visual tokens a training caption sees: all K, or the first as many as it has tokens.
    # So it came about in the released code, which passes the caption's mask as the encoder's.
    visual_mask: Literal["none", "caption"] = "none"
    language_model: str = "facebook/bart-base"  # repository, folder, or `scratch`
    text_max_length: int = 128  # tokens a caption is cut to, begin and end included; unstated
    # What the decoder reads first: BART's own </s>, or <s> twice, as in the released code
    decoder_start: Literal["eos", "bos"] = "eos"
    epochs: int = 20
    batch_size: int = 64  # captions a step
    micro_batch: int = 16  # of them at a time; unstated
    # `mean`: the mean over all tokens of the step. `sum`: micro-batch means, not divided by
    # their number, as in the released code, whose clipping is then four times tighter.
    accumulation: Literal["mean", "sum"] = "mean"
    lr: float = 5e-5  # AdamW
    weight_decay: float = 0.0  # unstated
    warmup_steps: int = 2500  # linear, then linear decay to 0; unstated
    clip_norm: float = 1.0  # unstated; its trainer's default
    evaluate_every: int = 500  # steps between validations, lowest loss is kept; unstated
    # Beams and new tokens of each variant (Table 12); the first is the headline's (Sec. 3.4)
    decodings: tuple[str, ...] = ("beam5-64", "beam1-64", "beam4-64", "beam5-128")
    length_penalty: float = 1.0  # unstated
    no_repeat_ngram: int = 3  # unstated; inherited from BART's own settings
    # What captions are held against: the reference as it is, or cut to `text_max_length` tokens
    # and decoded again (unstated)
    reference_text: Literal["full", "cut"] = "cut"
    max_images: tuple[int, int, int] | None = None  # train, val, test
    seeds: int = 1  # Table 12 has single values

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be trained or written."""
        require_positive(
            self,
            "image_size",
            "merger_tokens",
            "epochs",
            "batch_size",
            "micro_batch",
            "lr",
            "clip_norm",
            "evaluate_every",
            "seeds",
        )
        require_images(self)
        if self.text_max_length < SHORTEST:
            raise UsageError(
                f"text_max_length is {self.text_max_length}; use --set text_max_length=N with "
                f"N >= {SHORTEST}"
            )
        if not self.decodings or len(set(self.decodings)) < len(self.decodings):
            raise UsageError(
                f"decodings is {', '.join(self.decodings) or 'empty'}; name each one once, e.g. "
                "--set decodings=beam5-64,beam1-64"
            )
        for each in self.searches:
            if each.new_tokens < SHORTEST:
                raise UsageError(f"decodings has {each.name!r}: {SHORTEST} tokens are the fewest")
        files_of(self.language_model)

    @property
    def searches(self) -> tuple[Decoding, ...]:
        """The decodings, the headline's first."""
        return tuple(decoding(name) for name in self.decodings)

    @property
    def longest_text(self) -> int:
        """Tokens of the longest text the decoder meets, its start token included."""
        return max(self.text_max_length, *(1 + each.new_tokens for each in self.searches))


PAPER = CaptionRecipe()

# The authors' code, quirks included.
RELEASED = replace(
    PAPER,
    visual_tokens="all",
    merger_scale="none",
    merger_norm=True,
    visual_mask="caption",
    decoder_start="bos",
    accumulation="sum",
)

# What we recommend: own statistics, whole references, enough runs to say how sure we are.
FAIR = replace(PAPER, normalization="own", reference_text="full", seeds=5)

# A first look in minutes: a rate and a warm-up that 45 steps can use, and the cheapest search first.
QUICK = replace(
    PAPER,
    image_size=112,
    merger_tokens=16,
    max_images=(60, 20, 40),
    epochs=3,
    batch_size=4,
    micro_batch=4,
    lr=3e-4,
    warmup_steps=5,
    evaluate_every=15,
    decodings=("beam1-64", "beam5-64"),
    seeds=3,
)

RECIPES = {"paper": PAPER, "released": RELEASED, "fair": FAIR, "quick": QUICK}
