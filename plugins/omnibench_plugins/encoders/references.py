"""References to models outside the tables: `timm:<id>`, `open_clip:<arch>/<tag>`, `hf:<repo>`.

Cards are made from the text alone: no torch, no network, no look at the disk.
"""

from __future__ import annotations

import csv
import hashlib
import re
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING

from omnibench.cards import NAME, EncoderPrefix, EncoderSpec, HubFile
from omnibench.errors import UsageError, suggestion
from omnibench_plugins.encoders.cards import build_timm

if TYPE_CHECKING:
    from pathlib import Path

    from omnibench.encoder import Encoder

REPO = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
REVISION = re.compile(r"\w[\w./-]{0,99}", re.ASCII)  # becomes part of a path in the hub's cache
# Linear layers of the transformer blocks under transformers' names, pooling heads left out: an
# adapter on SigLIP's attention pooling is never used.
HF_LINEARS = (
    r"(?:.*\.)?layers?\.\d+\.(?:.*\.)?"
    r"(?:query|key|value|dense|[qkvo]_proj|out_proj|fc[12]|(?:up|down|gate)_proj|weights_(?:in|out))"
)
# open_clip's attention is torch's own, whose projections LoRA can only adapt as a whole.
OPEN_CLIP_LINEARS = r"(?:.*\.)?resblocks\.\d+\.(?:attn|mlp\.c_fc|mlp\.c_proj)"


def card_name(prefix: str, rest: str) -> str:
    """Return a name fit for records; with a digest where the reference's own text does not fit."""
    name = f"{prefix}-{rest}"
    if NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(f"{prefix}:{rest}".encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9._-]+', '-', name.lower())[:55]}-{digest}"


def timm_reference(rest: str) -> EncoderSpec:
    """Return the card of a timm model; one without a tag has no official weights."""
    if not re.fullmatch(r"[a-z0-9_]+(?:\.[\w-]+)?", rest, re.ASCII):
        raise UsageError(
            f"timm:{rest} is no timm name; write timm:ARCH.TAG, e.g. timm:resnet50.a1_in1k"
        )
    # timm keeps GELU and QuickGELU variants of one set of weights in one repository.
    repo = f"timm/{rest.replace('_clip_quickgelu_', '_clip_')}"
    return EncoderSpec(
        name=card_name("timm", rest),
        build=partial(build_timm, rest, img_size=None),
        family="timm",
        source=HubFile(repo=repo) if "." in rest else None,
        lora_targets="all-linear",
        notes="licence: see the model's page",
    )


def open_clip_reference(rest: str) -> EncoderSpec:
    """Return the card of an open_clip image tower; without a tag it has no official weights."""
    arch, slash, tag = rest.partition("/")
    table = open_clip_tags()
    tags = table.get(arch)
    if tags is None:
        raise UsageError(
            f"open_clip:{rest}: no image tower {arch!r} with published weights that omnibench can "
            f"use.{suggestion(arch, table)} Write open_clip:ARCH/TAG, e.g. "
            "open_clip:ViT-B-16/datacomp_xl_s13b_b90k"
        )
    if slash and tag not in tags:
        raise UsageError(
            f"open_clip:{rest}: {arch} has no weights {tag!r}.{suggestion(tag, tags)} "
            f"It has {', '.join(tags)}."
        )
    return EncoderSpec(
        name=card_name("open_clip", rest),
        build=partial(_build_open_clip, arch, tag),
        family="open_clip",
        source=tags[tag] if slash else None,
        lora_targets=OPEN_CLIP_LINEARS,
        notes="licence: see the model's page",
    )


def hf_reference(rest: str) -> EncoderSpec:
    """Return the card of a vision model in transformers' format; `repo@revision` pins a commit."""
    repo, pinned, revision = rest.partition("@")
    fits = REPO.fullmatch(repo) and (not pinned or REVISION.fullmatch(revision))
    if not fits or ".." in rest:
        raise UsageError(f"hf:{rest} is no repository; write hf:OWNER/NAME or hf:OWNER/NAME@COMMIT")
    return EncoderSpec(
        name=card_name("hf", rest),
        build=_build_hf,
        family="transformers",
        source=HubFile(
            repo=repo,
            companions=("config.json", "preprocessor_config.json"),
            revision=revision,
        ),
        lora_targets=HF_LINEARS,
        notes="licence: see the model's page",
    )


@cache
def open_clip_tags() -> dict[str, dict[str, HubFile]]:
    """Return open_clip's published image towers: architecture, tag, file on the hub.

    Copied as data because open_clip's own table can only be read by importing torch.
    """
    table: dict[str, dict[str, HubFile]] = {}
    text = resources.files(__package__).joinpath("open_clip_tags.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        source = HubFile(repo=row["repo"], filename=row["filename"])
        table.setdefault(row["arch"], {})[row["tag"]] = source
    return table


def _build_open_clip(
    arch: str, tag: str, *, weights: Path | None = None, random_init: bool = False
) -> Encoder:
    from omnibench_plugins.encoders.open_clip_encoder import build

    return build(arch, tag, weights=weights, random_init=random_init)


def _build_hf(*, weights: Path | None = None, random_init: bool = False) -> Encoder:
    from omnibench_plugins.encoders.hf_encoder import build

    assert weights is not None  # resolve() gives at least the path of config.json
    return build(weights, random_init=random_init)


PREFIXES = [
    EncoderPrefix(
        prefix="timm", make=timm_reference, summary="any timm model: timm:vit_tiny_patch16_224.TAG"
    ),
    EncoderPrefix(
        prefix="open_clip",
        make=open_clip_reference,
        summary="an open_clip image tower: open_clip:ViT-B-16/datacomp_xl_s13b_b90k",
    ),
    EncoderPrefix(
        prefix="hf",
        make=hf_reference,
        summary="a transformers vision model: hf:microsoft/rad-dino",
    ),
]
