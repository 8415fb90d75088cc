"""Frozen features through the handle: the same numbers stored, held or computed anew."""

from __future__ import annotations

import pytest
import torch
from albums import COUNT, Pictures, album, every, features, handle

from omnibench.errors import PluginError, UsageError
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures
from omnibench.features.readings import POOLED, TOKENS, require_pool
from omnibench.features.rows import ComputedRows, HeldRows
from omnibench.interfaces import Silent

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def accelerator(device: str) -> str:
    """The device, or a skip where the machine has none."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return device


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
