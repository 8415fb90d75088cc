"""Frozen features through the handle: the same numbers stored, held or computed anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnibench.cards import EncoderSpec
from omnibench.encoder import Encoder, Features
from omnibench.errors import IntegrityError, PluginError, UsageError
from omnibench.features import keys
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures
from omnibench.features.images import images_of, masks_of
from omnibench.features.readings import POOLED, TOKENS, require_pool
from omnibench.features.rows import Column, ComputedRows, HeldRows, Layout, StoredRows
from omnibench.handle import EncoderHandle, WeightsChoice
from omnibench.interfaces import Silent
from omnibench.loading import resized_images
from omnibench.subset import Subset

COUNT = 37  # two chunks and a rest
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def accelerator(device: str) -> str:
    """The device, or a skip where the machine has none."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return device


@dataclasses.dataclass
class Pictures:
    """Random images of 16 px; ids count in threes."""

    images: list[Any]
    targets: list[Any] = dataclasses.field(default_factory=list)
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(len(self.images), dtype=np.int64) * 3

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        return self.images[index]

    def target(self, index: int) -> Any:
        return self.targets[index]


@dataclasses.dataclass
class Album:
    train: Pictures
    name: str = "album"
    kind: str = "labels"
    classes: tuple[str, ...] = ("a", "b")
    digest: str = "ab" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> Pictures:
        return self.train


def album(count: int = COUNT, **changes: Any) -> Any:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(count)]
    return Album(Pictures(images), **changes)


class Tiny(Encoder):
    """A patch convolution, and a class token unless told otherwise."""

    seen = 0
    writes = False

    def __init__(self, prefix: bool = True) -> None:
        super().__init__(
            torch.nn.Conv2d(3, 6, 4, stride=4),
            embed_dim=6,
            patch_size=4,
            depth=1,
            mean=(0.5, 0.4, 0.3),
            std=(0.5, 0.5, 0.5),
        )
        self.prefix = prefix
        self.register_buffer("passes", torch.zeros(()))

    def _features(self, x: torch.Tensor) -> Features:
        Tiny.seen += len(x)
        if self.writes and len(x) > 1:
            self.passes += 1
        maps = self.backbone(x)
        tokens = maps.flatten(2).transpose(1, 2)
        first = tokens.amax(dim=1, keepdim=True) if self.prefix else None
        return Features(tokens.mean(dim=1), tokens, first, (maps.shape[2], maps.shape[3]))

    def _intermediates(self, x: torch.Tensor, layers: tuple[int, ...], norm: bool) -> list[Any]:
        return [self.backbone(x)]


def handle(store: FeatureStore | None = None, sha256: str = "12" * 32, **changes: Any) -> Any:
    def build(*, weights: Any, random_init: bool) -> Encoder:
        made = Tiny(changes.get("prefix", True))
        made.writes = changes.get("writes", False)
        return made

    card = EncoderSpec(name="tiny", build=build, embed_dim=6, patch_size=4, depth=1)
    kind = "random" if sha256 else "own"
    return EncoderHandle(
        card=card,
        weights=WeightsChoice(kind=kind, sha256=sha256),
        label="tiny",
        store=store,
        storage=changes.get("storage", "fp32"),
    )


def features(owner: Any, reading: Any = POOLED, **changes: Any) -> FrozenFeatures:
    asked = {
        "normalization": "own",
        "size": 16,
        "antialias": True,
        "device": "cpu",
        "precision": "fp32",
        **changes,
    }
    return FrozenFeatures(owner, reading, **asked)


def every(source: FrozenFeatures, dataset: Any = None) -> dict[str, torch.Tensor]:
    rows = source.of(dataset or album(), "train", Silent())
    return rows.read(torch.arange(len(rows)))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, 10**9)


# ---- the same numbers --------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("reading", [POOLED, TOKENS], ids=lambda r: r.kind)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stored_held_and_computed_features_are_bit_equal(
    store, monkeypatch, reading, storage, precision, accelerator
):
    how = {"precision": precision, "device": accelerator}
    held = features(handle(storage=storage), reading, **how)
    expected = every(held)
    written, read = (
        every(features(handle(store, storage=storage), reading, **how)) for _ in range(2)
    )
    monkeypatch.setattr(FrozenFeatures, "hold_bytes", 0)
    anew = features(handle(storage=storage), reading, **how)
    assert [column.name for column in held.facts.layout] == list(expected)
    for name, tensor in expected.items():
        for other in (written, read, every(anew)):
            assert other[name].dtype == tensor.dtype
            assert torch.equal(other[name].cpu(), tensor.cpu()), name
    index = torch.tensor([30, 2, 2, 17])
    for source in (held, anew):
        rows = source.of(album(), "train", Silent())
        for name, tensor in rows.read(index).items():
            assert torch.equal(tensor.cpu(), expected[name][index].cpu())


def test_features_are_what_the_encoder_says(store):
    owner = handle(store)
    found = every(features(owner))
    encoder = owner.build(normalization="own", pool="cls")
    image = torch.from_numpy(album().train.image(5)).float() / 255
    with torch.no_grad():
        said = encoder(image.expand(1, 3, 16, 16))
    assert torch.allclose(found["cls"][5], said.pooled[0], atol=1e-6)
    assert torch.allclose(found["avg"][5], said.tokens[0].mean(dim=0), atol=1e-6)


def test_half_precision_is_rounded_once_and_named_in_the_key(store):
    full, half = every(features(handle(store))), every(features(handle(store, storage="fp16")))
    for name, tensor in full.items():
        assert half[name].dtype == torch.float32
        assert torch.equal(half[name], tensor.half().float())
    assert not torch.equal(half["avg"], full["avg"])


def test_a_warm_store_builds_nothing_and_decodes_nothing(store, monkeypatch):
    first = features(handle(store))
    expected, facts = every(first), first.facts
    owner = handle(store)
    monkeypatch.setattr(owner, "build", lambda **_: pytest.fail("the encoder was built"))
    monkeypatch.setattr(Pictures, "image", lambda *_: pytest.fail("an image was decoded"))
    again = features(owner)
    assert again.facts == facts
    assert all(torch.equal(tensor, expected[name]) for name, tensor in every(again).items())
    assert again.of(album(), "train", Silent()).seconds > 0


def test_where_nothing_fits_features_are_computed_each_time(monkeypatch):
    source = features(handle())
    assert isinstance(source.of(album(), "train", Silent()), HeldRows)
    needed = COUNT * source.facts.layout.nbytes
    for budget, kind in ((needed, HeldRows), (needed - 1, ComputedRows)):
        monkeypatch.setattr(FrozenFeatures, "hold_bytes", budget)
        assert isinstance(features(handle()).of(album(), "train", Silent()), kind)


def test_a_store_without_room_changes_no_number(tmp_path):
    expected = every(features(handle()))
    found = every(features(handle(FeatureStore(tmp_path, 10))))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


# ---- what a key holds --------------------------------------------------------------------


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


# ---- contracts ---------------------------------------------------------------------------


def test_an_encoder_that_writes_to_itself_is_reported(store):
    with pytest.raises(PluginError, match="'tiny' is frozen, yet its parameters or buffers"):
        every(features(handle(store, writes=True)))


def test_a_class_token_that_is_not_there_is_refused(store):
    names = features(handle(store, prefix=False)).facts.layout.names
    assert names == ("checkpoint", "avg")
    require_pool(names, "avg")
    with pytest.raises(UsageError, match="no class token; use --set pool=avg"):
        require_pool(names, "cls")


def test_seeds_share_what_was_read_and_other_encoders_do_not():
    asked = {
        "normalization": "own",
        "size": 16,
        "antialias": True,
        "device": "cpu",
        "precision": "fp32",
    }
    one, two = handle(), handle()
    first = one.features(POOLED, **asked)
    dataset = album()
    assert one.features(POOLED, **asked) is first
    assert first.of(dataset, "train", Silent()) is first.of(dataset, "train", Silent())
    assert first.of(album(), "train", Silent()) is not first.of(dataset, "train", Silent())
    assert two.features(POOLED, **asked) is not first


def test_features_can_be_trained_on(monkeypatch):
    monkeypatch.setattr(FrozenFeatures, "hold_bytes", 0)  # straight from inference mode
    layer = torch.nn.Linear(6, 2)
    layer(every(features(handle()))["avg"]).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.any()


# ---- images and masks --------------------------------------------------------------------


def pictures(*kinds: str) -> Any:
    draw = np.random.default_rng(1)
    made = {
        "grey": lambda: draw.integers(0, 256, (9, 12), dtype=np.uint8),
        "colour": lambda: draw.integers(0, 256, (12, 9, 3), dtype=np.uint8),
        "float": lambda: draw.random((10, 10), dtype=np.float32),
    }
    return Album(Pictures([made[kind]() for kind in kinds]))


@pytest.mark.parametrize(
    "kinds",
    [
        ["grey"] * 20,
        ["grey"] * 19 + ["colour"],
        ["grey"] * 18 + ["float", "colour"],
        ["float", "colour", "grey"],
    ],
    ids=lambda kinds: "-".join(dict.fromkeys(kinds)),
)
def test_decoded_images_on_disk_are_those_in_memory(store, monkeypatch, kinds):
    dataset = pictures(*kinds)
    expected = resized_images(dataset.train, 8, antialias=True)
    written = images_of(store, dataset, "train", 8, True, progress=Silent())
    everything = torch.arange(len(kinds))
    assert torch.equal(written[everything], expected)
    assert written[everything].dtype == expected.dtype
    monkeypatch.setattr(Pictures, "image", lambda *_: pytest.fail("an image was decoded"))
    read = images_of(store, dataset, "train", 8, True, progress=Silent())
    assert torch.equal(read[torch.tensor([2, 0, 2])], expected[[2, 0, 2]])
    assert len(list(store.root.glob("??/*"))) == 1, "narrower attempts are gone"


def test_images_fit_in_memory_where_the_store_has_no_room(tmp_path):
    dataset = pictures("grey", "colour")
    found = images_of(FeatureStore(tmp_path, 10), dataset, "train", 8, True, progress=Silent())
    assert torch.equal(found[torch.arange(2)], resized_images(dataset.train, 8, antialias=True))


@pytest.mark.parametrize("kept", [True, False])
def test_masks_keep_the_values_that_shrinking_loses(store, kept):
    dataset = pictures("grey", "grey")
    masks = [np.zeros((9, 12), np.uint8), np.full((9, 12), 3, np.uint8)]
    masks[0][4, 5] = 9
    dataset.train.targets = masks
    for _ in range(2):
        rows = masks_of(store if kept else None, dataset, "train", 3, Silent())
        found = rows.read(torch.arange(2))
        assert found["mask"].tolist() == [[[0] * 3] * 3, [[3] * 3] * 3]
        present = [p.nonzero().flatten().tolist() for p in found["present"]]
        assert present == [[0, 9], [3]]
        dataset.train.targets = masks if not kept else [None, None]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8", "bool", "int64"])
def test_every_type_of_number_survives(store, dtype):
    layout = Layout([Column("a", dtype, (2, 3)), Column("b", "uint8", (5,))])
    draw = torch.Generator().manual_seed(0)
    a = torch.randint(0, 200, (4, 2, 3), generator=draw).to(getattr(torch, dtype))
    b = torch.randint(0, 256, (4, 5), generator=draw).to(torch.uint8)

    def produce(draft: Any, start: int, stop: int) -> dict[str, float]:
        draft.add(layout.pack({"a": a[start:stop], "b": b[start:stop]}))
        return {"seconds": 0.0}

    shards = store.obtain(
        {"of": dtype}, 4, row_bytes=layout.nbytes, shard_rows=3, produce=produce, what="x"
    )
    found = StoredRows(shards, layout).read(torch.tensor([3, 0, 1]))
    assert torch.equal(found["a"], a[[3, 0, 1]]) and torch.equal(found["b"], b[[3, 0, 1]])
    assert Layout.parsed([list(column) for column in layout]) == layout
