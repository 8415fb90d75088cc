"""Encoder handles: what a plugin's build() does wrong is the plugin's fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnibench.cards import EncoderSpec
from omnibench.errors import PluginError, SetupError
from omnibench.handle import EncoderHandle, WeightsChoice


def _handle(build: Callable[..., Any]) -> EncoderHandle:
    card = EncoderSpec(
        name="acme-vit",
        family="ViT",
        embed_dim=6,
        patch_size=4,
        depth=1,
        licence="MIT",
        build=build,
    )
    return EncoderHandle(card=card, weights=WeightsChoice(kind="own"), label="acme-vit")


def _key_error(*, weights: Path | None, random_init: bool) -> Any:
    raise KeyError("blocks")


def _exit(*, weights: Path | None, random_init: bool) -> Any:
    sys.exit(7)


def _lacking(*, weights: Path | None, random_init: bool) -> Any:
    raise SetupError("pip install acme")


def _number(*, weights: Path | None, random_init: bool) -> Any:
    return 3


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (
            _key_error,
            r"'acme-vit' cannot be built: KeyError: 'blocks' \(.*test_handle.py, line \d+",
        ),
        (_exit, r"cannot be built: SystemExit: 7"),
        (_number, r"build\(\) returned int"),
    ],
)
def test_a_plugin_that_cannot_build_is_named(build: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        _handle(build).build(normalization="own", pool="cls")


def test_what_a_plugin_says_to_the_user_is_not_reworded() -> None:
    with pytest.raises(SetupError, match=r"^pip install acme$"):
        _handle(_lacking).build(normalization="own", pool="cls")
