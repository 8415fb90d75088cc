"""ROCOv2 as its folder of tables and images: what it must hold, and a part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnibench.cards import DataAccess
from omnibench.errors import IntegrityError, SetupError
from omnibench_plugins.datasets import rocov2


def test_rocov2_says_how_it_must_lie(tmp_path: Path) -> None:
    (card,) = rocov2.cards()
    with pytest.raises(SetupError, match=r"lacks train_captions.csv, valid_captions.csv"):
        card.open(DataAccess(root=tmp_path))


def test_a_part_of_rocov2_is_refused_or_marked(tmp_path: Path, test_data: Path) -> None:
    (tmp_path / "rocov2").symlink_to(test_data / "data" / "roco_ccby")
    (card,) = rocov2.cards()
    with pytest.raises(IntegrityError, match=r"\(900, 150, 150\) captioned images, \(59958"):
        card.open(DataAccess(root=tmp_path))
    marked = card.open(DataAccess(root=tmp_path, allow_unverified=True))
    assert (marked.name, marked.facts["unverified"]) == ("rocov2", "true")
