"""Keys of stored features: whatever can change a bit is part of them, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from albums import Tiny, album, every, features, handle

from omnibench.cards import EncoderSpec
from omnibench.encoder import Encoder
from omnibench.errors import IntegrityError
from omnibench.features import keys
from omnibench.features.readings import TOKENS
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.subset import Subset


def passes(owner: Any, dataset: Any = None, **how: Any) -> int:
    """Return how many images are encoded, the black one for the facts not counted."""
    Tiny.seen = 0
    source = features(owner, **how)
    assert source.facts
    Tiny.seen = 0
    every(source, dataset)
    return Tiny.seen


@pytest.mark.parametrize(
    ("changes", "dataset", "how"),
    [
        ({"sha256": "34" * 32}, {}, {}),
        ({}, {"digest": "cd" * 32}, {}),
        ({}, {"facts": {"window": "lung"}}, {}),
        ({}, {"count": 36}, {}),
        ({}, {}, {"normalization": "imagenet"}),
        ({}, {}, {"size": 20}),
        ({}, {}, {"antialias": False}),
        ({"storage": "fp16"}, {}, {}),
    ],
)
def test_whatever_can_change_a_bit_is_part_of_the_key(store, changes, dataset, how):
    assert passes(handle(store)) > 0
    assert passes(handle(store)) == 0
    assert passes(handle(store, **changes), album(**dataset), **how) > 0
    assert passes(handle(store, **changes), album(**dataset), **how) == 0


@pytest.mark.parametrize("fact", ["threads", "capability", "matmul", "deterministic"])
def test_kernels_and_threads_are_part_of_the_key(store, monkeypatch, fact):
    passes(handle(store))
    told = keys.machine("cpu")
    monkeypatch.setattr(keys, "machine", lambda device: {**told, fact: "another"})
    assert passes(handle(store)) > 0


@pytest.mark.parametrize("package", ["torch", "timm", "numpy"])
def test_software_is_part_of_the_key(store, monkeypatch, package):
    passes(handle(store))
    told = keys.environment.versions
    monkeypatch.setattr(keys.environment, "versions", lambda names: {**told(names), package: "999"})
    assert passes(handle(store)) > 0


def test_source_code_is_part_of_the_key(store, monkeypatch):
    passes(handle(store))
    monkeypatch.setattr(keys.environment, "frozen_code", lambda modules: "other")
    assert passes(handle(store)) > 0


def test_precision_is_part_of_the_key_of_readings_that_follow_it(store):
    passes(handle(store))
    assert passes(handle(store), precision="bf16") == 0
    one, two = (features(handle(store), TOKENS, precision=p).identity for p in ("fp32", "bf16"))
    assert one != two


def test_a_subset_is_another_set_of_images_but_shares_the_facts(store):
    passes(handle(store))
    part = Subset(album(), (20, 20, 20))
    assert passes(handle(store), part) == 32  # two chunks
    ids = part.split("train").ids // 3
    whole, few = every(features(handle(store))), every(features(handle(store)), part)
    assert torch.equal(few["avg"], whole["avg"][torch.from_numpy(ids)])


def test_parameters_without_a_file_are_asked_themselves(store):
    """Without a digest, two builds with other parameters must not share features."""
    draws = iter((1, 1, 2))

    def build(*, weights: Any, random_init: bool) -> Encoder:
        made = Tiny()
        torch.nn.init.constant_(made.backbone.weight, next(draws))
        return made

    card = EncoderSpec(name="tiny", build=build, embed_dim=6, patch_size=4, depth=1)
    owners = [
        EncoderHandle(card=card, weights=WeightsChoice(kind="own"), label="tiny", store=store)
        for _ in range(3)
    ]
    first, same, other = (every(features(owner))["avg"] for owner in owners)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_weights_that_are_written_to_after_their_digest_was_taken_are_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    owner = handle()
    owner.weights = WeightsChoice(
        kind="file", path=file, sha256="12" * 32, modified=file.stat().st_mtime_ns
    )
    assert owner.build(normalization="own", pool="cls")
    owner._pristine = None
    file.write_bytes(b"two")
    with pytest.raises(IntegrityError, match="changed after its digest was taken"):
        owner.build(normalization="own", pool="cls")
