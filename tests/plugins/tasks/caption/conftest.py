"""Images of four kinds with a caption each, and a tiny BART in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from omnibench.assets import resolve
from omnibench.cards import Asset
from omnibench.interfaces import RunContext
from omnibench_plugins.tasks.caption.bridge import Bridge
from omnibench_plugins.tasks.caption.model import Captioner
from omnibench_plugins.tasks.caption.model_files import files_of
from omnibench_plugins.tasks.caption.recipe import PAPER, CaptionRecipe
from omnibench_plugins.tasks.caption.tokenizer import CaptionTokenizer, Ids, train_tokenizer

SHADES = ("a black", "a dark", "a grey", "a white")


def caption(kind: int) -> str:
    return f"Radiograph of {SHADES[kind]} field (arrow)."


@dataclasses.dataclass(frozen=True)
class CaptionSplit:
    """Sample i shows a field of the shade i % 4."""

    start: int
    count: int
    captions: Mapping[int, Any] = dataclasses.field(default_factory=dict)  # replaced ones
    groups: None = None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        return np.arange(self.start, self.start + self.count, dtype=np.int64)

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray[Any, Any]:
        shade = 10 + 75 * (index % 4) + (self.start + index) % 7
        return np.full((32, 32), shade, dtype=np.uint8)

    def target(self, index: int) -> Any:
        return self.captions.get(index, (caption(index % 4),))


@dataclasses.dataclass(frozen=True)
class CaptionDataset:
    splits: Mapping[str, CaptionSplit]
    name: str = "fields"
    kind: str = "captions"
    classes: tuple[str, ...] = ()
    digest: str = "ab" * 32
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> CaptionSplit:
        return self.splits[name]


@pytest.fixture
def fields() -> Callable[..., CaptionDataset]:
    """Makes datasets of 24, 8 and 12 images; captions of a split can be replaced by index."""

    def make(**captions: Mapping[int, Any]) -> CaptionDataset:
        sizes = {"train": (0, 24), "val": (24, 8), "test": (32, 12)}
        return CaptionDataset(
            {name: CaptionSplit(*size, captions.get(name, {})) for name, size in sizes.items()}
        )

    return make


@pytest.fixture(scope="session")
def tokenizer() -> CaptionTokenizer:
    """A tokenizer trained on the four captions."""
    return train_tokenizer([caption(kind) for kind in range(4)] * 3, 64)


def tiny_config(vocabulary: int, **changes: Any) -> BartConfig:
    fields = {
        "vocab_size": vocabulary,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 160,
        "dropout": 0.0,
    }
    return BartConfig(**fields | changes)


@pytest.fixture
def tiny_captioner(tokenizer: CaptionTokenizer) -> Callable[..., Captioner]:
    """Makes captioners of width 32 on tokens of width 24, 8 visual tokens by default."""

    def make(recipe: CaptionRecipe | None = None) -> Captioner:
        torch.manual_seed(0)
        recipe = recipe or dataclasses.replace(PAPER, merger_tokens=8)
        # Far from its beginning, where outputs hardly depend on anything.
        language_model = BartForConditionalGeneration(tiny_config(tokenizer.size, init_std=0.5))
        return Captioner(Bridge(24, 32, recipe), language_model, Ids(), recipe).eval()

    return make


@pytest.fixture(scope="session")
def bart_folder(tokenizer: CaptionTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BART as transformers saves it, with settings that decoding must not inherit."""
    folder = tmp_path_factory.mktemp("bart")
    torch.manual_seed(1)
    model = BartForConditionalGeneration(tiny_config(tokenizer.size))
    model.generation_config.num_beams = 7
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(folder)
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def asset_of(tmp_path: Path) -> Callable[[Path], Asset]:
    """Finds the files of a language model in a folder, as planning does."""

    def find(folder: Path) -> Asset:
        files = files_of(str(folder))
        assert files is not None
        return resolve(files, "language_model", offline=True, cache=tmp_path)

    return find


@pytest.fixture
def bart_context(bart_folder: Path, asset_of: Callable[[Path], Asset]) -> RunContext:
    """The context of a run whose language model is the tiny BART."""
    return RunContext(seed=0, assets={"language_model": asset_of(bart_folder)})
