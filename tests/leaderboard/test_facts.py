"""What tables say of encoders beside their numbers."""

from __future__ import annotations

import pytest

from omnibench_leaderboard import facts
from omnibench_leaderboard.runs import EncoderKey


class OneRun:
    """A run whose record describes an encoder."""

    sha256 = "0"

    def __init__(self, **encoder: object) -> None:
        self.record = type("Record", (), {"encoder": encoder, "timing": {"ended": "2026"}})


@pytest.mark.parametrize(
    ("kind", "commercial", "told"),
    [
        ("official", False, ("CC-BY-NC-4.0", False)),
        ("own", True, ("CC-BY-NC-4.0", True)),
        ("file", True, ("", None)),
        ("file", False, ("", False)),
        ("random", False, ("none needed: random weights", True)),
    ],
)
def test_a_cards_licence_is_told_of_its_own_weights_only(kind, commercial, told) -> None:
    key = EncoderKey(
        name="vit", plugin="omnibench", plugin_version="", weights=kind, weights_sha256="0" * 64
    )
    found = facts.encoder("vit", key, [OneRun(licence="CC-BY-NC-4.0", commercial=commercial)])
    assert (found.licence, found.commercial) == told
