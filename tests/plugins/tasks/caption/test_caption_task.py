"""The task from recipe to stored texts, on four kinds of images and small language models."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from omnibench.cards import DatasetSpec, EncoderSpec
from omnibench.errors import IntegrityError, PluginError, RunFailed, UsageError
from omnibench.features.cache import FeatureStore
from omnibench.features.frozen import FrozenFeatures, fingerprint
from omnibench.features.readings import TOKENS
from omnibench.interfaces import NeedsAssets, RunContext, Task
from omnibench.loading import as_images
from omnibench.recipe import as_document, override
from omnibench_plugins.tasks.caption.recipe import FAIR, PAPER, QUICK, RELEASED, Decoding
from omnibench_plugins.tasks.caption.samples import read_texts
from omnibench_plugins.tasks.caption.sheet import sheet_png, wrapped
from omnibench_plugins.tasks.caption.task import Captioning
from omnibench_plugins.tasks.caption.tokens import VisualTokens

TASK = Captioning()
CARD = DatasetSpec(name="c", kind="captions", open=lambda access: None)
ENCODER = EncoderSpec(name="e", build=lambda **_: None, patch_size=14)
TINY = dataclasses.replace(
    PAPER,
    image_size=32,
    merger_tokens=4,
    epochs=2,
    batch_size=8,
    micro_batch=4,
    lr=1e-3,
    warmup_steps=2,
    evaluate_every=2,
    decodings=("beam2-24", "beam1-12"),
)


def test_the_paper_recipe_is_the_printed_one():
    # OmniRad, Sec. 3.4; protocols.yaml, captioning
    assert (PAPER.merger_tokens, PAPER.epochs, PAPER.batch_size, PAPER.lr) == (64, 20, 64, 5e-5)
    assert PAPER.language_model == "facebook/bart-base"
    assert (PAPER.visual_tokens, PAPER.merger_scale, PAPER.merger_norm) == (
        "patches",
        "inv_sqrt_d",
        False,
    )
    assert PAPER.searches[0] == Decoding(5, 64)
    assert set(PAPER.decodings) == {"beam1-64", "beam4-64", "beam5-64", "beam5-128"}  # Table 12
    quirks = {k for k, v in as_document(RELEASED).items() if as_document(PAPER)[k] != v}
    assert quirks == {
        "visual_tokens",
        "merger_scale",
        "merger_norm",
        "visual_mask",
        "decoder_start",
        "accumulation",
    }
    assert [r.seeds for r in (PAPER, RELEASED, FAIR, QUICK)] == [1, 1, 5, 3]
    assert (PAPER.reference_text, FAIR.reference_text) == ("cut", "full")


def test_the_task_keeps_its_contract():
    assert isinstance(TASK, Task) and isinstance(TASK, NeedsAssets)
    assert TASK.recipes[0] == "paper"
    assert TASK.variants(PAPER) == PAPER.decodings
    assert TASK.headline(PAPER) == "bleu"
    assert TASK.assets(override(PAPER, {"language_model": "scratch"})) == {}
    assert list(TASK.assets(PAPER)) == ["language_model"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"merger_tokens": "0"}, "merger_tokens is 0"),
        ({"micro_batch": "0"}, "micro_batch is 0"),
        ({"evaluate_every": "0"}, "evaluate_every is 0"),
        ({"text_max_length": "2"}, "text_max_length is 2"),
        ({"decodings": ""}, "decodings is empty"),
        ({"decodings": "beam5-64,beam5-64"}, "name each one once"),
        ({"decodings": "5-64"}, "'5-64'; write beamB-N"),
        ({"decodings": "beam0-64"}, "write beamB-N"),
        ({"decodings": "beam5-2"}, "3 tokens are the fewest"),
        ({"language_model": "bart"}, "language_model is 'bart'"),
        ({"max_images": "1,2,2"}, "at least 2 images"),
        ({"merger_scale": "no"}, "one of inv_sqrt_d, none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        override(PAPER, settings)


def test_combinations_that_make_no_sense_are_refused():
    def reason(card=CARD, encoder=ENCODER, **settings):
        return TASK.accepts(card, encoder, override(PAPER, settings))

    assert reason() is None
    assert "needs captions" in reason(dataclasses.replace(CARD, kind="labels"))
    whole = EncoderSpec(name="unet", end_to_end=True, build_end_to_end=lambda **_: None)
    assert "no tokens to caption" in reason(encoder=whole)
    assert "image_size=224" in reason(image_size="230")
    assert "1024 positions, merger_tokens would take 1025" in reason(merger_tokens="1025")
    assert reason(merger_tokens="1024") is None
    assert "a text would take 1025" in reason(decodings="beam1-1024")
    assert "a text would take 1025" in reason(text_max_length="1025")
    assert reason(decodings="beam1-1023", text_max_length="1024") is None


def outcomes(handle, dataset, recipe, context):
    return list(TASK.run(handle, dataset, recipe, context))


def test_one_trained_model_gives_one_outcome_a_decoding(vit_handle, fields, bart_context):
    handle = vit_handle()
    found = outcomes(handle, fields(), TINY, bart_context)
    assert tuple(outcome.variant for outcome in found) == TASK.variants(TINY)
    for outcome in found:
        arrays = outcome.predictions
        assert arrays["test_id"].tolist() == list(range(32, 44))
        assert arrays["test_captions"].shape == (12,)
        assert arrays["test_references"].shape == (12, 1)
        assert {m.id for m in TASK.score(arrays)} >= {"bleu", "p1", "p4", "rouge_l"}
    assert found[0].predictions["val_id"].tolist() == list(range(24, 32))
    assert "val_captions" not in found[1].predictions
    assert TASK.score(found[0].predictions, "val") and TASK.score(found[1].predictions, "val") == []
    details = found[0].details
    assert [step for step, _ in details["val_losses"]] == [2, 4, 6]
    assert details["best_step"] in (2, 4, 6) and len(details["train_losses"]) == 2
    assert details["flags"] == found[1].details["flags"] or len(details["flags"]) < 2
    assert found[0].params_total - found[0].params_trainable == sum(
        p.numel() for p in handle.build(normalization="own", pool="checkpoint").parameters()
    )
    kept = found[0].weights
    assert bytes(kept["tokenizer.json"]).startswith(b"{")
    assert sum(v.size for k, v in kept.items() if k != "tokenizer.json") == (
        found[0].params_trainable
    )


def test_the_same_seed_writes_the_same_texts_and_another_one_others(
    vit_handle, fields, bart_context
):
    one, two = (outcomes(vit_handle(), fields(), TINY, bart_context) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert first.details == second.details
        for name, array in first.predictions.items():
            assert np.array_equal(array, second.predictions[name]), name
    other = outcomes(vit_handle(), fields(), TINY, dataclasses.replace(bart_context, seed=1))
    assert other[0].details["train_losses"] != one[0].details["train_losses"]


@pytest.mark.parametrize("recipe", [PAPER, RELEASED], ids=["paper", "released"])
def test_training_learns_which_caption_belongs_to_which_image(
    vit_handle, fields, bart_context, recipe
):
    recipe = dataclasses.replace(
        recipe, image_size=32, merger_tokens=8, epochs=100, batch_size=8, micro_batch=8, lr=5e-3,
        warmup_steps=10, evaluate_every=30, decodings=("beam2-40",),
    )  # fmt: skip
    [outcome] = outcomes(vit_handle(), fields(), recipe, bart_context)
    written = outcome.predictions["test_captions"].tolist()
    right = [w == r for w, [r] in zip(written, outcome.predictions["test_references"], strict=True)]
    assert sum(right) >= 10, written
    losses = [loss for _, loss in outcome.details["val_losses"]]
    assert min(losses) < 0.2 * losses[0] or min(losses) < 0.1


def test_a_frozen_encoder_stays_bit_identical(vit_handle, fields, bart_context):
    made = []
    handle = vit_handle()
    build = handle.build

    def keep(**options):
        made.append(build(**options))
        return made[-1]

    handle.build = keep
    before = fingerprint(build(normalization="imagenet", pool="checkpoint"))
    outcomes(handle, fields(), TINY, bart_context)
    assert made and {fingerprint(encoder) for encoder in made} == {before}
    assert not any(p.requires_grad for p in made[0].parameters())


def test_an_encoder_that_changes_is_refused(vit_handle, fields, bart_context):
    class Counting(torch.nn.Identity):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x

    def count_calls(vit):
        vit.norm = Counting()

    with pytest.raises(PluginError, match="its parameters or buffers changed"):
        outcomes(vit_handle(change=count_calls), fields(), TINY, bart_context)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(vit_handle, fields, bart_context):
    recipe = dataclasses.replace(TINY, lr=1e30, warmup_steps=0, clip_norm=1e30)
    with pytest.raises(RunFailed, match=r"loss became (nan|inf) in epoch 1, step [23]"):
        outcomes(vit_handle(), fields(), recipe, bart_context)


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ({"val": {1: (), 3: ("",)}}, "2 of 8 images in split 'val' .* ids 25, 27;"),
        ({"train": {n: ("  ",) for n in range(7)}}, "7 of 24 .*ids 0, 1, 2, 3, 4, …"),
        ({"test": {0: "a bare text"}}, "1 of 12 images in split 'test'"),
    ],
)
def test_missing_captions_are_counted_and_named(vit_handle, fields, bart_context, captions, said):
    with pytest.raises(IntegrityError, match=said):
        outcomes(vit_handle(), fields(**captions), TINY, bart_context)


def test_one_training_caption_and_an_empty_split_are_refused(vit_handle, fields, bart_context):
    dataset = fields()
    for name, count, said in (("train", 1, "1 training captions"), ("val", 0, "has no images")):
        few = dataclasses.replace(dataset.splits[name], count=count)
        with pytest.raises(IntegrityError, match=said):
            read_texts(dataclasses.replace(dataset, splits={**dataset.splits, name: few}))


def test_what_cannot_work_is_refused_before_data_are_read(vit_handle, unread, bart_context):
    recipe = dataclasses.replace(TINY, merger_tokens=200)
    with pytest.raises(UsageError, match="160 positions, merger_tokens would take 200"):
        outcomes(vit_handle(), unread, recipe, bart_context)
    with pytest.raises(UsageError, match="not a multiple of the patch size"):
        outcomes(vit_handle(), unread, dataclasses.replace(TINY, image_size=36), bart_context)


def test_several_captions_of_an_image_are_all_trained_on_and_all_references(
    vit_handle, fields, bart_context
):
    several = {0: ("One.", "Another one."), 5: ("Größe ½ 肝 (→).",)}
    dataset = fields(train=several, test=several)
    assert len(read_texts(dataset)["train"].pairs) == 25
    [outcome] = outcomes(
        vit_handle(), dataset, dataclasses.replace(TINY, decodings=("beam1-12",)), bart_context
    )
    references = outcome.predictions["test_references"]
    assert references.shape == (12, 2)
    assert references[0].tolist() == ["One.", "Another one."]
    assert references[5].tolist() == ["Größe ½ 肝 (→).", ""]
    assert TASK.score(outcome.predictions)


def test_references_are_cut_or_whole_as_the_recipe_says(vit_handle, fields, bart_context):
    long = " ".join(f"word{n}" for n in range(60))
    dataset = fields(test={2: (long,)})
    recipe = dataclasses.replace(TINY, text_max_length=24, epochs=1, decodings=("beam1-8",))
    whole = dataclasses.replace(recipe, reference_text="full")
    [cut] = outcomes(vit_handle(), dataset, recipe, bart_context)
    [full] = outcomes(vit_handle(), dataset, whole, bart_context)
    assert full.predictions["test_references"][2, 0] == long
    short = cut.predictions["test_references"][2, 0]
    assert short and long.startswith(short) and len(short) < len(long)


def test_mixed_precision_trains_and_writes(vit_handle, fields, bart_context):
    context = dataclasses.replace(bart_context, precision="bf16")
    [mixed, _] = outcomes(vit_handle(), fields(), TINY, context)
    [full, _] = outcomes(vit_handle(), fields(), TINY, bart_context)
    close, exact = mixed.details["train_losses"], full.details["train_losses"]
    assert close != exact and np.allclose(close, exact, rtol=0.05)


def test_scratch_is_said_in_the_record_and_under_tables(vit_handle, fields):
    recipe = dataclasses.replace(
        TINY, language_model="scratch", epochs=1, warmup_steps=100, decodings=("beam1-8",)
    )
    [outcome] = outcomes(vit_handle(), fields(), recipe, RunContext(seed=0))
    flags = outcome.details["flags"]
    assert any(f.startswith("language model from scratch: BART 256 wide, 3+3") for f in flags)
    assert any(f.startswith("WARM-UP: 100 warm-up steps, but training ends after 3") for f in flags)


def visual(handle, dataset, which):
    features = FrozenFeatures(
        handle,
        TOKENS,
        normalization="own",
        size=32,
        antialias=True,
        device="cpu",
        precision="fp32",
    )
    recipe = dataclasses.replace(TINY, visual_tokens=which)
    return features, VisualTokens(features, dataset, recipe, RunContext(seed=0))


@pytest.mark.parametrize(("which", "count"), [("patches", 16), ("all", 17)])
def test_tokens_are_the_same_kept_computed_again_or_stored(
    vit_handle, fields, monkeypatch, tmp_path, which, count
):
    index = torch.tensor([20, 3, 17])
    _, kept = visual(vit_handle(), fields(), which)
    expected = kept.read("train", index)
    assert expected.shape == (3, count, 32)
    for _ in range(2):
        stored = vit_handle()
        stored.store = FeatureStore(tmp_path, 10**9)
        assert torch.equal(visual(stored, fields(), which)[1].read("train", index), expected)
    monkeypatch.setattr(FrozenFeatures, "hold_bytes", 0)
    _, again = visual(vit_handle(), fields(), which)
    assert torch.equal(again.read("train", index), expected)


def test_class_tokens_come_first_and_their_absence_is_no_obstacle(
    vit_handle, tokenless_handle, fields
):
    features, tokens = visual(vit_handle(), fields(), "all")
    found = tokens.read("test", torch.arange(12))
    images = features.images(fields(), "test", RunContext(seed=0).progress)[torch.arange(12)]
    said = features.encoder(as_images(images, "cpu"))
    assert torch.allclose(found[:, :1], said.prefix, atol=1e-6)
    assert torch.allclose(found[:, 1:], said.tokens, atol=1e-6)
    _, without = visual(tokenless_handle, fields(), "all")
    assert without.read("test", torch.arange(2)).shape == (2, 16, 32)


def test_captions_of_a_convolutional_encoder_of_any_width(fields, bart_context):
    from omnibench.handle import EncoderHandle, WeightsChoice
    from omnibench_plugins.encoders.timm_encoder import build

    def small(*, weights, random_init):
        return build("test_resnet", weights=None, random_init=True)

    card = EncoderSpec(name="cnn", build=small)
    handle = EncoderHandle(card=card, weights=WeightsChoice(kind="random"), label="cnn")
    [outcome] = outcomes(
        handle, fields(), dataclasses.replace(TINY, decodings=("beam1-8",)), bart_context
    )
    assert outcome.details["visual_tokens"] == 1  # 32 px at stride 32


def sheet(captions, references, size=4):
    class One:
        def split(self, name):
            return self

        ids = np.arange(10, 10 + size)

        def image(self, index):
            return np.full((20, 30 + index), 128, dtype=np.uint8)

    arrays = {
        "test_id": One.ids,
        "test_captions": np.array(captions),
        "test_references": np.array(references),
    }
    return Image.open(io.BytesIO(sheet_png(One(), arrays, "title $x$ · seed 0")))


def test_the_sheet_takes_any_text(recwarn):
    long = "a very long sentence about an image " * 40
    texts = [[long, "other"], ["$5 \\alpha$ & ½ µm", ""], ["肝臓" * 90, ""], ["x", ""]]
    picture = sheet(["", "Größe $", "肺" * 200, long], texts)
    assert picture.width > 900 and picture.height > 600
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_long_texts_are_wrapped_and_cut():
    lines = wrapped("word " * 400).split("\n")
    assert len(lines) == 5 and lines[-1].endswith("…") and max(map(len, lines)) <= 100
    assert wrapped("") == "(empty)"
    assert max(map(len, wrapped("肝臓" * 90).split("\n"))) == 50
