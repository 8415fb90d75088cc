"""Language models from files and from scratch, and their tokenizers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BartForConditionalGeneration, BartModel, BartTokenizer

from omnibench.cards import HubFile, LocalFiles
from omnibench.errors import IntegrityError, SetupError, UsageError
from omnibench_plugins.tasks.caption.language_model import (
    description,
    from_scratch,
    pretrained,
    read_config,
)
from omnibench_plugins.tasks.caption.model_files import files_of
from omnibench_plugins.tasks.caption.recipe import PAPER
from omnibench_plugins.tasks.caption.tokenizer import Ids, read_tokenizer, train_tokenizer

TEXTS = [
    "Chest X-ray showing a left-sided effusion (arrow).",
    "Chest X-ray showing no effusion.",
    "CT of the abdomen: hépatomégalie, 12 mm nodule.",
] * 4
SMALL = dataclasses.replace(PAPER, merger_tokens=8)


def test_a_name_is_scratch_a_repository_or_a_folder():
    assert files_of("scratch") is None
    hub = files_of("facebook/bart-large")
    assert isinstance(hub, HubFile) and hub.repo == "facebook/bart-large"
    assert hub.companions == ("config.json", "tokenizer.json")
    local = files_of("./models/bart")
    assert isinstance(local, LocalFiles) and local.folder == Path("models/bart")
    for text in ("bart-base", "facebook/bart/base", "", "scratch "):
        with pytest.raises(UsageError, match=r"folder \(beginning with / or \.\), or scratch"):
            files_of(text)


def load(asset, recipe=SMALL):
    return pretrained(asset, read_config(asset, recipe), recipe)


@pytest.fixture
def copied(bart_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(bart_folder, folder)
    return folder


def test_a_folder_gives_its_weights_bit_by_bit(bart_folder, asset_of):
    model, tokenizer = load(asset_of(bart_folder))
    theirs = BartForConditionalGeneration.from_pretrained(bart_folder)
    for name, value in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.lm_head.weight is model.model.shared.weight
    assert tokenizer.size == model.config.vocab_size


def test_the_bare_model_under_its_old_names_is_the_same(copied, bart_folder, asset_of):
    """Published BART files hold the model without its head, keys without prefix."""
    whole, _ = load(asset_of(bart_folder))
    bare = BartModel.from_pretrained(bart_folder).state_dict()
    assert "shared.weight" in bare
    for names in (("shared.weight",), ("encoder.embed_tokens.weight",)):
        state = {k: v for k, v in bare.items() if "embed_tokens" not in k and k != "shared.weight"}
        state |= {name: bare["shared.weight"] for name in names}
        state["encoder.version"] = torch.tensor([3.0])
        save_file({k: v.clone() for k, v in state.items()}, copied / "model.safetensors")
        model, _ = load(asset_of(copied))
        for name, value in whole.state_dict().items():
            assert torch.equal(model.state_dict()[name], value), name


def test_a_pytorch_file_is_read_where_there_is_no_safetensors(copied, asset_of):
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save(state, copied / "pytorch_model.bin")
    model, _ = load(asset_of(copied))
    assert torch.equal(model.model.shared.weight, state["model.shared.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("model.decoder.layers.0.fc1.weight"), "1 missing .*layers.0.fc1.weight"),
        (lambda s: s.update({"model.extra.weight": torch.zeros(2)}), "1 surplus .*extra"),
        (
            lambda s: s.update({"lm_head.weight": s["model.shared.weight"] + 1}),
            "different matrices under model.shared.weight, lm_head.weight",
        ),
        (lambda s: s.pop("model.shared.weight"), "no embedding of words"),
        (lambda s: s["model.shared.weight"].fill_(torch.nan), "different matrices|not finite"),
    ],
    ids=["missing", "surplus", "untied", "no-embedding", "nan"],
)
def test_weights_that_do_not_fit_are_refused(copied, asset_of, change, said):
    state = load_file(copied / "model.safetensors")
    change(state)
    save_file(state, copied / "model.safetensors")
    with pytest.raises(IntegrityError, match=said):
        load(asset_of(copied))


def test_a_folder_without_a_file_says_which(copied, asset_of):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(SetupError, match=r"language_model=.*copy: the folder lacks tokenizer.json"):
        asset_of(copied)


def test_another_kind_of_model_and_too_few_positions_are_refused(copied, asset_of):
    with pytest.raises(UsageError, match="160 positions, merger_tokens would take 161"):
        read_config(asset_of(copied), dataclasses.replace(PAPER, merger_tokens=161))
    with pytest.raises(UsageError, match="160 positions, a text would take 161"):
        read_config(asset_of(copied), dataclasses.replace(PAPER, decodings=("beam1-160",)))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    with pytest.raises(UsageError, match="of type 't5'; this task takes BART"):
        read_config(asset_of(copied), SMALL)
    (copied / "config.json").write_text("[1]")
    with pytest.raises(IntegrityError, match="no model's config"):
        read_config(asset_of(copied), SMALL)


def bart_tokenizer(texts: list[str]) -> BartTokenizer:
    """BART's tokenizer class, as its users build and save it."""
    trained = json.loads(train_tokenizer(texts, 64).backend.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    return BartTokenizer(vocab=trained["vocab"], merges=merges)


def test_transformers_own_tokenizer_gives_the_same_ids(tmp_path):
    bart_tokenizer(TEXTS).save_pretrained(tmp_path)
    ours = read_tokenizer(tmp_path / "tokenizer.json", Ids(), 128)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) > 250
    for text in (*TEXTS, "Größe 3 µm, 肝"):
        assert ours.encode([text]) == [theirs(text)["input_ids"]]
        assert ours.decode(theirs(text)["input_ids"]) == text


def test_the_five_token_vocabulary_of_transformers_5_is_refused(tmp_path):
    """encoders.md: `BartTokenizer(vocab_file=…)` silently knows five tokens."""
    trained = json.loads(train_tokenizer(TEXTS, 64).backend.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(trained["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in trained["merges"]))
    broken = BartTokenizer(
        vocab_file=str(tmp_path / "vocab.json"), merges_file=str(tmp_path / "merges.txt")
    )
    if len(broken) > 5:
        pytest.skip("this version of transformers reads the files")
    broken.save_pretrained(tmp_path)
    with pytest.raises(IntegrityError, match="does not belong to this language model"):
        read_tokenizer(tmp_path / "tokenizer.json", Ids(), 128)


def test_a_tokenizer_of_other_ids_or_size_is_refused(copied, asset_of):
    with pytest.raises(IntegrityError, match="beginning with id 0 and ending with 2, where 5 and"):
        read_tokenizer(copied / "tokenizer.json", Ids(bos=5), 128)
    bart_tokenizer([*TEXTS, *(f"zq{n}w " * 3 for n in range(200))]).save_pretrained(copied)
    with pytest.raises(IntegrityError, match=r"knows \d+ tokens, the language model"):
        load(asset_of(copied))
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(IntegrityError, match="no tokenizer file"):
        load(asset_of(copied))


def test_a_trained_tokenizer_repeats_exactly_and_loses_no_text():
    one, other = (train_tokenizer(TEXTS, 128) for _ in range(2))
    assert one.backend.to_str() == other.backend.to_str()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert [one.backend.id_to_token(n) for n in range(5)] == special
    for text in (*TEXTS, "never seen: 肺炎 — ½ ≥ 3 µm", "ein Wort", "x"):
        [ids] = one.encode([text])
        assert ids[0] == 0 and ids[-1] == 2 and one.decode(ids) == text


def test_captions_are_cut_to_a_length_that_counts_begin_and_end():
    tokenizer = train_tokenizer(TEXTS, 6)
    [ids] = tokenizer.encode([TEXTS[0] * 3])
    assert len(ids) == 6 and (ids[0], ids[-1]) == (0, 2)
    assert TEXTS[0].startswith(tokenizer.decode(ids))


def test_special_tokens_in_a_caption_are_its_characters():
    tokenizer = train_tokenizer(TEXTS, 64)
    [ids] = tokenizer.encode(["arrow </s> and <pad>"])
    assert ids.count(2) == 1 and 1 not in ids
    assert tokenizer.decode(ids) == "arrow </s> and <pad>"


def test_scratch_is_the_stated_size_and_drawn_from_the_seed():
    # design.md, decision 16: d_model 256, 3+3 layers, at most 4,000 tokens
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model, tokenizer = from_scratch(TEXTS, PAPER)
        states.append(model.state_dict())
    config = model.config
    assert (config.d_model, config.encoder_layers, config.decoder_layers) == (256, 3, 3)
    assert (config.encoder_attention_heads, config.encoder_ffn_dim) == (4, 1024)
    assert config.vocab_size == tokenizer.size <= 4000
    assert "256 wide, 3+3 layers" in description(config)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["model.shared.weight"], states[2]["model.shared.weight"])
