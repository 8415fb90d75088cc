from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from omnibench.errors import UsageError
from omnibench.recipe import as_document, digest, override, without_idle


@dataclass(frozen=True, kw_only=True)
class Recipe:
    lr: float = 1e-4
    epochs: int = 20
    pool: Literal["cls", "avg"] = "cls"
    layers: tuple[int, ...] = (3, 7, 11)
    scale: tuple[float, float] = (0.8, 1.0)
    clip_norm: float | None = 1.0
    augment: bool = True


def test_fields_are_parsed_as_their_types():
    changed = override(
        Recipe(),
        {
            "lr": "3e-4",
            "epochs": "2",
            "pool": "avg",
            "layers": "1,3",
            "scale": "(0.5, 1)",
            "clip_norm": "none",
            "augment": "false",
        },
    )
    assert changed == Recipe(
        lr=3e-4,
        epochs=2,
        pool="avg",
        layers=(1, 3),
        scale=(0.5, 1.0),
        clip_norm=None,
        augment=False,
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epoch", "2", "no field 'epoch'. Did you mean epochs?"),
        ("epochs", "two", "epochs takes int"),
        ("epochs", "2.5", "epochs takes int"),
        ("pool", "max", "pool is one of cls, avg"),
        ("augment", "yes", "true or false"),
        ("scale", "1", "takes 2 values"),
        ("lr", "nan", "must be finite"),
        ("layers", "3,-1", "not negative"),
        ("lr", "-1", "not negative"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(name, text, message):
    with pytest.raises(UsageError) as raised:
        override(Recipe(), {name: text})
    assert message in str(raised.value)


def test_the_document_has_every_field_as_text_and_its_digest_sees_each():
    document = as_document(Recipe())
    assert document["lr"] == "0.0001" and document["layers"] == "[3, 7, 11]"
    digests = {
        digest(as_document(override(Recipe(), {k: v})))
        for k, v in [("lr", "1e-3"), ("epochs", "1"), ("augment", "false"), ("layers", "3")]
    }
    assert len(digests | {digest(document)}) == 5


def test_canonical_digest_equals_the_golden_value_g24():
    # statistics specification, G24
    identity = {
        "schema": "omnibench.run/1",
        "encoder": {"name": "omnirad-base", "weights_sha256": "0" * 64},
        "dataset": {"name": "promise12", "content_sha256": "1" * 64, "split": "test"},
        "task": {"name": "seg", "protocol_sha256": "2" * 64},
        "seed": 0,
    }
    assert digest(identity) == "443902878443ce5fc34ac0ec722731b2c3af24ffdd2e286cd368ca8815acf4d7"


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    warmup_epochs: int = 0
    warmup_start: float = 0.01
    lr: float = 1e-4

    @property
    def idle(self) -> tuple[str, ...]:
        return () if self.warmup_epochs else ("warmup_start",)


def test_fields_without_effect_are_as_in_the_named_recipe_and_said(caplog):
    named = WarmedUp(warmup_start=0.02)
    found = without_idle(override(named, {"warmup_start": "0.5", "lr": "1e-3"}), named)
    assert found == WarmedUp(warmup_start=0.02, lr=1e-3)
    assert "--set warmup_start=0.5 has no effect with the other settings; it stays 0.02" in (
        caplog.text
    )
    warmed = override(named, {"warmup_epochs": "2", "warmup_start": "0.5"})
    assert without_idle(warmed, named) is not named and without_idle(warmed, named) == warmed
    assert without_idle(Recipe(epochs=3), Recipe()) == Recipe(epochs=3)
